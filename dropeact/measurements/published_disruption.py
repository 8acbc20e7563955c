"""Projected norms and token ids -> loss in nats per text with each model's own massive channels zeroed as projected.

The study's own way, for the figures that it published: norms and zeros before rotation, and as many channels as are
massive in that model, not in both. Claims of this suite rest on `disruption`: as attended, at equal dose.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import other_half
from dropeact.measurements import disruption
from dropeact.measurements.disruption import HEADS
from dropeact.probes.channels import ZeroProjectedDims

VERSION = 2
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
    """Mean loss `nats` (text, condition) of texts of one half, with channels zeroed as projected.

    `masks` are those of `masks`, from the other half; `dose` (selected_on, layer, tensor) is kept beside the losses.
    """
    (half,) = set(halves)
    query, key = (torch.tensor(masks[tensor].transpose("text", "condition", ...).values) for tensor in HEADS)
    nats = disruption.losses(model, tokens, query, key, ZeroProjectedDims)
    return xr.Dataset(
        {
            "dose": masks["dose"].expand_dims(selected_on=np.array([other_half(half)])),
            "nats": (("text", "condition"), nats.cpu().numpy()),
        },
        coords={"text": list(ids), "half": ("text", list(halves)), "condition": masks["condition"].values},
    )
