"""A model and token ids -> everything that one probed forward pass of each text shows, as one labelled dataset."""

from collections.abc import Sequence
from types import ModuleType

import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements import (
    attention,
    local_attention,
    massive_activations,
    massive_values,
    perplexity,
    qk_norms,
    residual,
    residual_share,
    rotary_frequency,
    write_share,
)
from dropeact.probes.probing import Readings, probing

VERSION = 1
TEXTS_AT_ONCE = 4
PHENOMENA = (massive_values, attention, residual)
EVERYTHING = (*PHENOMENA, massive_activations, local_attention, write_share, residual_share, qk_norms, rotary_frequency)


def observe(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    *,
    ids: Sequence[str],
    halves: Sequence[str],
    phenomena: Sequence[ModuleType] = PHENOMENA,
) -> xr.Dataset:
    """Pass each text once, all of one half and one length (there is no padding), and label what every reading gave.

    Variables are those that the `labelled` of each phenomenon names, per text, and the losses `nats` and `nats_mean`;
    norm matrices and distance decay are pooled over the texts (selected_on, ...).

    Raises
    ------
    InputError
        When the architecture is not one that the probes are tested on.
    """
    (half,) = set(halves)
    size = perplexity.rows_at_once(model, tokens.shape[1], most=TEXTS_AT_ONCE)
    parts = [_observed(model, batch, phenomena) for batch in tokens.split(size)]
    observed: xr.Dataset = xr.concat(
        parts, "text", data_vars="minimal", coords="minimal", compat="override", join="exact"
    )
    observed.attrs["rank_bound"] = min(tokens.shape[1], model.config.get_text_config().hidden_size)
    names = [name for name in ("layer", "depth", "head", "kv_head", "dim") if name in observed.sizes]
    labels = {"text": list(ids), "half": ("text", list(halves))}
    observed = observed.assign_coords(labels | {name: range(observed.sizes[name]) for name in names})
    for phenomenon in phenomena:
        if hasattr(phenomenon, "pooled"):
            observed = phenomenon.pooled(observed, half)
    return observed


def _observed(model: PreTrainedModel, tokens: Int[Tensor, "text token"], phenomena: Sequence[ModuleType]) -> xr.Dataset:
    """One batch of texts in one forward pass."""
    readings = sum((phenomenon.READINGS for phenomenon in phenomena), Readings())
    with probing(model, readings) as seen, torch.no_grad():
        nats = perplexity.token_nats(model(tokens, use_cache=False).logits, tokens)
    datasets: list[xr.Dataset] = [phenomenon.labelled(seen) for phenomenon in phenomena]
    # outer: a phenomenon of queries and keys alone has no number for values
    return xr.merge([*datasets, perplexity.labelled(nats)], join="outer")
