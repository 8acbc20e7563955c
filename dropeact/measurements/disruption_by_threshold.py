"""Pooled norms and token ids -> loss in nats per text with massive channels zeroed, for other lambdas than 5."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import LAMBDAS, MASSIVE_THRESHOLD, other_half
from dropeact.measurements import disruption
from dropeact.measurements.disruption import HEADS

VERSION = 1
THRESHOLDS = tuple(value for value in LAMBDAS if value != MASSIVE_THRESHOLD)
CONDITIONS = ("massive", disruption.RANDOM[0])


def equal_doses(one: xr.Dataset, other: xr.Dataset, *, thresholds: Sequence[float] = THRESHOLDS) -> xr.DataArray:
    """How many channels to zero in both models (threshold, layer, tensor), as `disruption.equal_dose` has it."""
    doses = [disruption.equal_dose(one, other, threshold=threshold) for threshold in thresholds]
    return xr.concat(doses, xr.Variable("threshold", list(thresholds)))


def masks(norms: xr.Dataset, doses: xr.DataArray, ids: Sequence[str], *, seed: int) -> xr.Dataset:
    """Which channels to zero: `query` (threshold, text, condition, layer, head, dim), `key` (...), and `dose`.

    massive and random-0 are those of `disruption.drawn` at the dose of each threshold.
    """
    made = [
        disruption.drawn(norms, dose.drop_vars("threshold"), ids, seed=seed, threshold=float(dose["threshold"]))
        for dose in doses
    ]
    chosen = [each[[*HEADS, "dose"]].sel(condition=list(CONDITIONS)) for each in made]
    return xr.concat(chosen, doses["threshold"], data_vars="all")


def disrupt(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    masks: xr.Dataset,
    *,
    ids: Sequence[str],
    halves: Sequence[str],
) -> xr.Dataset:
    """Mean loss `nats` (text, threshold, condition) of texts of one half, and `dose` (selected_on, threshold, ...).

    `masks` come from the other half. All thresholds and conditions of a text are rows of one batch.
    """
    (half,) = set(halves)
    ordered = masks[list(HEADS)].transpose("text", "threshold", "condition", ...)
    query, key = (torch.from_numpy(ordered[tensor].values).flatten(1, 2) for tensor in HEADS)
    nats = disruption.losses(model, tokens, query, key).unflatten(1, tuple(ordered["query"].shape[1:3]))
    coords = {"text": list(ids), "half": ("text", list(halves))}
    return xr.Dataset(
        {
            "nats": (("text", "threshold", "condition"), nats.cpu().numpy()),
            "dose": masks["dose"].expand_dims(selected_on=np.array([other_half(half)])),
        },
        coords=coords | {name: masks[name] for name in ("threshold", "condition")},
    )
