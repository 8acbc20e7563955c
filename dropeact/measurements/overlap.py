"""Norm matrices of two models, or of one -> do the same channels stand out, and how unequal are they; no torch."""

import numpy as np
import xarray as xr
from scipy import stats

from dropeact.axes import MASSIVE_THRESHOLD


def jaccard(one: xr.DataArray, other: xr.DataArray, *, threshold: float = MASSIVE_THRESHOLD) -> xr.DataArray:
    """Massive channels of both models as a share of those of either, per layer; NaN where neither has any.

    |A and B| / |A or B|
    """
    a, b = (massive(norms, threshold=threshold) for norms in (one, other))
    axes = within(one)
    either = (a | b).sum(axes)
    return (a & b).sum(axes) / either.where(either > 0)


def cosine(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Cosine of the two norm matrices, per layer."""
    axes = within(one)
    a, b = one.astype(np.float64), other.astype(np.float64)
    return (a * b).sum(axes) / np.sqrt((a**2).sum(axes) * (b**2).sum(axes))


def spearman(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Rank correlation of the two norm matrices, per layer."""
    axes = within(one)
    return xr.apply_ufunc(_spearman, one, other, input_core_dims=[axes, axes], vectorize=True)


def gini(norms: xr.DataArray) -> xr.DataArray:
    """How concentrated the norms of a layer are, in float64: 0 all equal, towards 1 one alone.

    G = 2 sum_i i x_(i) / (n sum_i x_i) - (n + 1) / n, i = 1..n, x ascending
    """
    axes = within(norms)
    return xr.apply_ufunc(_gini, norms.astype(np.float64), input_core_dims=[axes], vectorize=True)


def massive(norms: xr.DataArray, *, threshold: float | xr.DataArray = MASSIVE_THRESHOLD) -> xr.DataArray:
    """Channels whose norm is larger than `threshold` times the mean over heads and channels of their layer."""
    return threshold * norms.mean(within(norms)) < norms  # in this order thresholds come first: sums are faster


def within(norms: xr.DataArray) -> list[str]:
    """The dimensions of one layer."""
    return [str(name) for name in norms.dims if name in ("head", "kv_head", "dim")]


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def _gini(matrix: np.ndarray) -> float:
    ascending = np.sort(matrix.ravel())
    n = ascending.size
    return float(2 * (np.arange(1, n + 1) * ascending).sum() / (n * ascending.sum()) - (n + 1) / n)
