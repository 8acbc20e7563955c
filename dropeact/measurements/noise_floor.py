"""One observation cell, measured again and with other threads -> how much each variable changes by itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements.observe import observe

VERSION = 1
COMPARISONS = ("repeat", "threads")


def noise_floor(
    model: PreTrainedModel, tokens: Int[Tensor, "text token"], *, ids: Sequence[str], halves: Sequence[str]
) -> xr.Dataset:
    """Largest change of every observed variable (comparison): `repeat` of the same pass, 1 against 2 `threads`.

    absolute_v = max |a - b|, relative_v = max |a - b| / max(|a|, |b|)
    """

    def observed(threads: int) -> xr.Dataset:
        with using_threads(threads):
            return observe(model, tokens, ids=ids, halves=halves)

    once, again, alone, together = (observed(threads) for threads in (torch.get_num_threads(),) * 2 + (1, 2))
    pairs = ((once, again), (alone, together))
    changes = {
        f"{kind}_{name}": ("comparison", np.array([change(a[name].values, b[name].values) for a, b in pairs]))
        for kind, change in (("absolute", largest_change), ("relative", largest_relative_change))
        for name in once.data_vars
    }
    return xr.Dataset(changes, coords={"comparison": list(COMPARISONS)})


def largest_change(one: np.ndarray, other: np.ndarray) -> float:
    """Largest |a - b| in float64; NaN where both are NaN is no change."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(np.where(np.isnan(a) & np.isnan(b), 0, np.abs(a - b)).max())


def largest_relative_change(one: np.ndarray, other: np.ndarray) -> float:
    """Largest |a - b| / max(|a|, |b|); equal values, zeros among them, have not changed."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    scale = np.maximum(np.abs(a), np.abs(b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0, np.abs(a - b) / np.where(same, 1, scale)).max())


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
