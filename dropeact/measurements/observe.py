"""A model and token ids -> everything that one probed forward pass of each text shows, as one labelled dataset."""

from collections.abc import Sequence

import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements import attention, massive_values, perplexity, residual
from dropeact.probes.probing import Readings, probing

VERSION = 1
TEXTS_AT_ONCE = 4
PHENOMENA = (massive_values, attention, residual)


def observe(
    model: PreTrainedModel, tokens: Int[Tensor, "text token"], *, ids: Sequence[str], halves: Sequence[str]
) -> xr.Dataset:
    """Pass each text once, all of one half and one length (there is no padding), and label what every reading gave.

    Variables per text: `massive_count`, `sink_score`, `attention_entropy`, `attention_entropy_normalised`,
    `first_norm`, `other_norm_mean`, `other_norm_median`, `entropy`, `entropy_without_first`, `anisotropy`, `nats`,
    `nats_mean`; pooled over the texts: `query_norm`, `key_norm`, `value_norm` (selected_on, ...).

    Raises
    ------
    InputError
        When the architecture is not one that the probes are tested on.
    """
    (half,) = set(halves)
    size = perplexity.rows_at_once(model, tokens.shape[1], most=TEXTS_AT_ONCE)
    parts = [_observed(model, batch) for batch in tokens.split(size)]
    observed: xr.Dataset = xr.concat(
        parts, "text", data_vars="minimal", coords="minimal", compat="override", join="exact"
    )
    observed.attrs["rank_bound"] = min(tokens.shape[1], model.config.get_text_config().hidden_size)
    indices = {name: range(observed.sizes[name]) for name in ("layer", "depth", "head", "kv_head", "dim")}
    labels = {"text": list(ids), "half": ("text", list(halves))}
    return massive_values.pooled(observed.assign_coords(labels | indices), half)


def _observed(model: PreTrainedModel, tokens: Int[Tensor, "text token"]) -> xr.Dataset:
    """One batch of texts in one forward pass."""
    readings = sum((phenomenon.READINGS for phenomenon in PHENOMENA), Readings())
    with probing(model, readings) as seen, torch.no_grad():
        nats = perplexity.token_nats(model(tokens, use_cache=False).logits, tokens)
    datasets: list[xr.Dataset] = [phenomenon.labelled(seen) for phenomenon in PHENOMENA]
    return xr.merge([*datasets, perplexity.labelled(nats)])
