"""Norms per channel -> where massive channels lie on the rotary frequencies, fastest first."""

import numpy as np
import xarray as xr

from dropeact.axes import MASSIVE_THRESHOLD, TENSORS, THRESHOLDS
from dropeact.measurements.massive_values import attended_norms
from dropeact.measurements.overlap import massive, within
from dropeact.probes.probing import Readings, Seen

READINGS = Readings(attended=(attended_norms,))


def labelled(seen: Seen) -> xr.Dataset:
    """Massive channels of queries and keys as attended, by their place in the rotation.

    `rotary_count` (text, layer, tensor, pair), at lambda = 5; `rotary_slow_count` and `rotary_fast_count` (text, layer,
    tensor, threshold): those of the slower and of the faster half of the pairs, at every lambda.
    """
    heads = dict(zip(TENSORS[:2], ("head", "kv_head"), strict=True))
    counts = [
        by_rotary_pair(norms, threshold=every_threshold(norms))
        for tensor, head in heads.items()
        for norms in [xr.DataArray(seen[f"{tensor}-attended"].numpy(), dims=("layer", "text", head, "dim"))]
    ]
    joined = xr.concat(counts, xr.Variable("tensor", list(heads)), coords="minimal", compat="override")
    pairs = joined.sel(threshold=MASSIVE_THRESHOLD, drop=True)
    counted = xr.Dataset({"rotary_count": pairs} | halves(joined)).astype(np.int16)
    return counted.transpose("text", "layer", "tensor", ...)


def every_threshold(norms: xr.DataArray) -> xr.DataArray:
    """Every lambda, as precise as the norms that are compared with it."""
    return xr.DataArray(np.array(THRESHOLDS, norms.dtype), coords={"threshold": list(THRESHOLDS)})


def halves(counts: xr.DataArray) -> dict[str, xr.DataArray]:
    """Counts by rotary pair, summed over the slower half of the pairs and over the faster one."""
    middle = counts.sizes["pair"] // 2
    parts = {"rotary_slow_count": slice(middle, None), "rotary_fast_count": slice(middle)}
    return {name: counts.isel(pair=part).sum("pair") for name, part in parts.items()}


def by_rotary_pair(norms: xr.DataArray, *, threshold: float | xr.DataArray = MASSIVE_THRESHOLD) -> xr.DataArray:
    """Number of massive channels in each rotary pair, summed over heads: `dim` becomes `pair`.

    Channels i and i + head_dim / 2 turn together, by theta^(-2 i / head_dim) a position: pair 0 turns fastest.
    """
    counts = massive(norms, threshold=threshold).sum([name for name in within(norms) if name != "dim"], dtype=np.int16)
    half = norms.sizes["dim"] // 2
    first, second = counts.isel(dim=slice(0, half)), counts.isel(dim=slice(half, 2 * half))
    paired = first.drop_vars("dim", errors="ignore") + second.drop_vars("dim", errors="ignore")
    return paired.rename(dim="pair").assign_coords(pair=range(half))
