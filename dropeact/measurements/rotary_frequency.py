"""Norms per channel -> where massive channels lie on the rotary frequencies, fastest first."""

import numpy as np
import xarray as xr

from dropeact.axes import MASSIVE_THRESHOLD, TENSORS
from dropeact.measurements.massive_values import attended_norms
from dropeact.probes.probing import Readings, Seen

READINGS = Readings(attended=(attended_norms,))


def labelled(seen: Seen) -> xr.Dataset:
    """`rotary_count` (text, layer, tensor, pair): massive channels of queries and keys as attended, by rotary pair."""
    heads = dict(zip(TENSORS[:2], ("head", "kv_head"), strict=True))
    counts = [
        by_rotary_pair(xr.DataArray(seen[f"{tensor}-attended"].numpy(), dims=("layer", "text", head, "dim")))
        for tensor, head in heads.items()
    ]
    joined = xr.concat(counts, xr.Variable("tensor", list(heads)), coords="minimal", compat="override")
    return xr.Dataset({"rotary_count": joined.transpose("text", "layer", "tensor", "pair").astype(np.int16)})


def massive(norms: xr.DataArray, *, threshold: float = MASSIVE_THRESHOLD) -> xr.DataArray:
    """Channels whose norm is larger than `threshold` times the mean over heads and channels of their layer."""
    return norms > threshold * norms.mean(within(norms))


def by_rotary_pair(norms: xr.DataArray, *, threshold: float = MASSIVE_THRESHOLD) -> xr.DataArray:
    """Number of massive channels in each rotary pair, summed over heads: `dim` becomes `pair`.

    Channels i and i + head_dim / 2 turn together, by theta^(-2 i / head_dim) a position: pair 0 turns fastest.
    """
    counts = massive(norms, threshold=threshold).sum([name for name in within(norms) if name != "dim"])
    half = norms.sizes["dim"] // 2
    first, second = counts.isel(dim=slice(0, half)), counts.isel(dim=slice(half, 2 * half))
    paired = first.drop_vars("dim", errors="ignore") + second.drop_vars("dim", errors="ignore")
    return paired.rename(dim="pair").assign_coords(pair=range(half))


def slow_share(norms: xr.DataArray, *, threshold: float = MASSIVE_THRESHOLD) -> xr.DataArray:
    """Share of the massive channels that lie in the slower half of the rotary pairs; NaN where there is none."""
    counts = by_rotary_pair(norms, threshold=threshold)
    total = counts.sum("pair")
    slow = counts.isel(pair=slice(counts.sizes["pair"] // 2, None)).sum("pair")
    return (slow / total.where(total > 0)).astype(np.float64)


def within(norms: xr.DataArray) -> list[str]:
    """The dimensions of one layer."""
    return [str(name) for name in norms.dims if name in ("head", "kv_head", "dim")]
