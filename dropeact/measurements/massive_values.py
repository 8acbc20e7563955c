"""Norm matrices of queries, keys and values -> counts of massive values per text and layer, norms pooled over texts."""

from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from dropeact.axes import MASSIVE_THRESHOLD, SITES, TENSORS, THRESHOLDS
from dropeact.probes.probing import Readings, Seen
from dropeact.probes.residual import Projected
from dropeact.probes.rows import Attended

MEANS = ("layer", "head")
MeanOver = Literal["layer", "head"]


def norms(heads: Float[Tensor, "batch head token head_dim"]) -> Float[Tensor, "batch head head_dim"]:
    """Norm of every channel over the positions of a text, in float32.

    M[h, d] = sqrt(sum_s X[h, s, d]^2)

    References
    ----------
    Jin et al. (2025), definition 1; arXiv:2502.01563.
    """
    return heads.float().square().sum(-2).sqrt()  # five times as fast as vector_norm, which strides


def attended_norms(attended: Attended) -> dict[str, Tensor]:
    """Norms of what enters q k^T, and of the values."""
    tensors = zip(TENSORS, (attended.query, attended.key, attended.value), strict=True)
    return {f"{tensor}-attended": norms(heads) for tensor, heads in tensors}


def projected_norms(projected: Projected) -> dict[str, Tensor]:
    """Norms of what a projection gives."""
    return {f"{projected.tensor}-projected": norms(projected.heads.transpose(1, 2))}


READINGS = Readings(attended=(attended_norms,), projected=(projected_norms,))


def massive_counts(
    norms: Float[Tensor, "*batch head dim"], *, mean_over: MeanOver = "layer", threshold: float = MASSIVE_THRESHOLD
) -> Int[Tensor, "*batch"]:
    """Number of channels whose norm is larger than `threshold` times the mean norm of their layer, or of their head.

    count = #{(h, d): M[h, d] > threshold mean(M)}

    References
    ----------
    Jin et al. (2025), definition 1, with the mean over the layer; arXiv:2502.01563.
    """
    mean = norms.mean((-2, -1) if mean_over == "layer" else -1, keepdim=True)
    return (norms > threshold * mean).sum((-2, -1))


def labelled(seen: Seen) -> xr.Dataset:
    """Counts per text, and the norms of every text as `{tensor}_norm` (text, site, layer, head or kv_head, dim)."""
    matrices = {(tensor, site): seen[f"{tensor}-{site}"].transpose(0, 1) for tensor in TENSORS for site in SITES}
    variables = {
        f"{tensor}_norm": (
            ("text", "site", "layer", "head" if tensor == "query" else "kv_head", "dim"),
            torch.stack([matrices[tensor, site] for site in SITES], 1).numpy(),
        )
        for tensor in TENSORS
    }
    counts = [[_counts(matrices[tensor, site]) for site in SITES] for tensor in TENSORS]
    dims = ("tensor", "site", "mean_over", "threshold", "text", "layer")
    count = xr.DataArray(np.array(counts, dtype=np.int16), dims=dims).transpose("text", "layer", *dims[:4])
    return xr.Dataset(
        variables | {"massive_count": count},
        coords={"tensor": list(TENSORS), "site": list(SITES), "mean_over": list(MEANS), "threshold": list(THRESHOLDS)},
    )


def _counts(matrices: Float[Tensor, "text layer head dim"]) -> list[list[np.ndarray]]:
    """Counts (mean_over, threshold) of (text, layer)."""
    return [
        [massive_counts(matrices, mean_over=mean, threshold=threshold).numpy() for threshold in THRESHOLDS]
        for mean in ("layer", "head")
    ]


def pooled(observed: xr.Dataset, half: str) -> xr.Dataset:
    """Replace the norms of every text by their pool over the texts of one half.

    M_pooled[h, d] = sqrt(mean over texts of M[h, d]^2)
    """
    names = [f"{tensor}_norm" for tensor in TENSORS]
    pool = np.sqrt((observed[names].astype(np.float64) ** 2).mean("text")).astype(np.float32)
    return observed.drop_vars(names).merge(pool.expand_dims(selected_on=np.array([half])))
