"""Pooled norms -> controls for the massive channels: the largest that are not massive, and the smallest, as many."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool

from dropeact.axes import MASSIVE_THRESHOLD
from dropeact.measurements.disruption import HEADS
from dropeact.probes.interventions import ZeroDims

VERSION = 1
CONTROLS = ("next-largest", "smallest")


def controls(norms: xr.Dataset, dose: xr.DataArray, name: str) -> ZeroDims:
    """The channels of a control, zeroed: per layer and tensor as many as `dose` (layer, tensor) has massive ones.

    next-largest: the largest norms that are not above 5 times the layer's mean; smallest: the smallest norms.
    """
    chosen = [_chosen(norms[f"{tensor}_norm"], dose.sel(tensor=tensor), HEADS[tensor], name) for tensor in HEADS]
    query, key = (torch.from_numpy(mask)[None] for mask in chosen)
    return ZeroDims(query, key)


def _chosen(norms: xr.DataArray, dose: xr.DataArray, heads: str, name: str) -> Bool[np.ndarray, "layer head dim"]:
    matrices = norms.transpose("layer", heads, "dim").values
    mask = np.zeros(matrices.shape, bool)
    for layer, (matrix, k) in enumerate(zip(matrices, dose.values, strict=True)):
        flat = matrix.ravel()
        order = np.argsort(-flat, kind="stable")
        massive = int((flat > MASSIVE_THRESHOLD * flat.mean()).sum())
        places = order[massive : massive + int(k)] if name == "next-largest" else order[order.size - int(k) :]
        mask[layer].ravel()[places] = True
    return mask
