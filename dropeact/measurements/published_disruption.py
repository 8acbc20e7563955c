"""Projected norms and token ids -> loss in nats per text with each model's own massive channels zeroed as projected.

The study's own way, for the figures that it published: norms and zeros before rotation, and as many channels as are
massive in that model, not in both. Claims of this suite rest on `disruption`: as attended, at equal dose.
"""

from collections.abc import Sequence

import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements import disruption
from dropeact.measurements.disruption import HEADS
from dropeact.measurements.perplexity import rows_at_once, token_nats
from dropeact.probes.channels import ZeroProjectedDims
from dropeact.probes.interventions import intervening

VERSION = 1
CONDITIONS = ("baseline", "massive", *disruption.RANDOM)


def masks(norms: xr.Dataset, ids: Sequence[str], *, seed: int) -> xr.Dataset:
    """Which channels each condition zeroes: `query` (text, condition, layer, head, dim), `key` (..., kv_head, dim).

    `norms` are one model's own, pooled. massive: norms > 5 * their mean over the layer; random-i: as many others, drawn
    for each text as for `disruption`.
    """
    made = disruption.drawn(norms, disruption.equal_dose(norms, norms), ids, seed=seed)
    return made[[*HEADS, "dose"]].sel(condition=list(CONDITIONS))


def disrupt(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    masks: xr.Dataset,
    *,
    ids: Sequence[str],
    halves: Sequence[str],
) -> xr.Dataset:
    """Mean loss `nats` (text, condition) of texts with channels zeroed as projected; conditions are rows of a batch."""
    query, key = (torch.tensor(masks[tensor].transpose("text", "condition", ...).values) for tensor in HEADS)
    size = rows_at_once(model, tokens.shape[1], most=disruption.ROWS_AT_ONCE, limit=disruption.LOGIT_BYTES)
    nats = []
    for text, queries, keys in zip(tokens, query, key, strict=True):
        rows = zip(queries.split(size), keys.split(size), strict=True)
        nats.append(torch.cat([_nats(model, text, ZeroProjectedDims(*chosen)) for chosen in rows]))
    return xr.Dataset(
        {"nats": (("text", "condition"), torch.stack(nats).cpu().numpy())},
        coords={"text": list(ids), "half": ("text", list(halves)), "condition": masks["condition"].values},
    )


def _nats(model: PreTrainedModel, text: Int[Tensor, " token"], zeroed: ZeroProjectedDims) -> Tensor:
    """Mean loss of one text under each row of masks."""
    rows = text.expand(len(zeroed.query), -1)
    with intervening(model, zeroed), torch.no_grad():
        return token_nats(model(rows, use_cache=False).logits, rows).mean(-1)
