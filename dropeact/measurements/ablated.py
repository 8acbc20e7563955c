"""Token ids and interventions -> loss in nats per text, and what is left of the first token's norm and of the sinks."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

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


def decoded(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    interventions: Sequence[Intervention],
    *,
    prompt: int,
    condition: str,
    ids: Sequence[str],
    halves: Sequence[str],
) -> xr.Dataset:
    """Mean loss `nats` (text, condition) of the tokens after the first `prompt`, read one by one from the cache.

    An intervention that names absolute positions gives what one pass over the whole text gives.
    """
    cache = DynamicCache(config=model.config)
    with intervening(model, *interventions), torch.no_grad():
        logits = [model(tokens[:, :prompt], past_key_values=cache, logits_to_keep=1).logits]
        for t in range(prompt, tokens.shape[1] - 1):
            logits.append(model(tokens[:, t : t + 1], past_key_values=cache).logits)
    nats = token_nats(torch.cat([*logits, logits[-1]], 1), tokens[:, prompt - 1 :]).mean(-1)
    return xr.Dataset(
        {"nats": (("text", "condition"), nats.cpu().numpy()[:, None])},
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
