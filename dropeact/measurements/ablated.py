"""Token ids and interventions -> loss in nats per text, and what is left of the first token's norm and of the sinks."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import SINK_LENGTH, SINK_THRESHOLD
from dropeact.measurements import attention, residual
from dropeact.measurements.observe import observe
from dropeact.measurements.perplexity import rows_at_once, token_nats
from dropeact.probes.interventions import Intervention, intervening

VERSION = 1
TEXTS_AT_ONCE = 8
EFFECTS = ("first_norm", "other_norm_median", "entropy", "sink_rate")


def losses(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    interventions: Sequence[Intervention],
    *,
    condition: str,
    ids: Sequence[str],
    halves: Sequence[str],
) -> xr.Dataset:
    """Mean loss `nats` (text, condition) under interventions; every text is passed whole, as a prompt of its own."""
    size = rows_at_once(model, tokens.shape[1], most=TEXTS_AT_ONCE)
    with intervening(model, *interventions), torch.no_grad():
        nats = [token_nats(model(batch, use_cache=False).logits, batch).mean(-1) for batch in tokens.split(size)]
    return xr.Dataset(
        {"nats": (("text", "condition"), torch.cat(nats).cpu().numpy()[:, None])},
        coords={"text": list(ids), "half": ("text", list(halves)), "condition": np.array([condition])},
    )


def effects(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    interventions: Sequence[Intervention],
    *,
    condition: str,
    ids: Sequence[str],
    halves: Sequence[str],
) -> xr.Dataset:
    """What an ablation did to the stream and to attention, per text.

    `first_norm`, `other_norm_median`, `entropy` (text, condition, depth), as everywhere; `sink_rate` (text, condition,
    layer): share of heads whose queries t >= 1 of the first 64 tokens give key 0 at least 0.3 on average.
    """
    with intervening(model, *interventions):
        seen = observe(model, tokens, ids=ids, halves=halves, phenomena=(attention, residual))
    scores = seen["sink_score"].sel(convention="without_first_query", drop=True)
    scores = scores.sel(length=min(SINK_LENGTH, tokens.shape[1]), drop=True)
    rates = (scores >= SINK_THRESHOLD).where(scores.notnull()).mean("head", skipna=False)
    kept = seen.assign(sink_rate=rates.astype(np.float32))[list(EFFECTS)]
    return kept.expand_dims(condition=np.array([condition]), axis=1)
