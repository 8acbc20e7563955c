"""The residual stream of one text at one depth -> norms of its tokens, and how many directions it really uses."""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from dropeact.measurements.spectra import spectra, wide
from dropeact.probes.probing import Readings, Seen

NAMES = ("first_norm", "other_norm_mean", "other_norm_median", "entropy", "entropy_without_first", "anisotropy")


def read_stream(hidden: Float[Tensor, "batch token hidden"]) -> dict[str, Tensor]:
    """Every statistic of the stream, from one Gram matrix a text in float64."""
    exact = wide(hidden)
    squares = exact.square().sum(-1)
    with_first, without_first = spectra(exact)
    others = squares[:, 1:].sqrt()
    statistics = (
        squares[:, 0].sqrt(),
        others.mean(-1),
        others.quantile(0.5, -1),
        representation_entropy(with_first),
        representation_entropy(without_first),
        anisotropy(with_first),
    )
    return {name: value.float() for name, value in zip(NAMES, statistics, strict=True)}


READINGS = Readings(stream=(read_stream,))


def representation_entropy(eigenvalues: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Entropy in nats of the share that each direction has in a matrix of tokens.

    p_j = sigma_j^2 / sum_i sigma_i^2, H = -sum_j p_j ln p_j; `eigenvalues` are the sigma_j^2.

    References
    ----------
    Queipo-de-Llano et al. (2025), matrix-based entropy; arXiv:2510.06477.
    """
    return torch.special.entr(_shares(eigenvalues)).sum(-1)


def anisotropy(eigenvalues: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Share of the largest direction: sigma_1^2 / sum_i sigma_i^2."""
    return _shares(eigenvalues).amax(-1)


def labelled(seen: Seen) -> xr.Dataset:
    """Every statistic of the stream (text, depth)."""
    return xr.Dataset({name: (("text", "depth"), seen[name].T.numpy()) for name in NAMES})


def _shares(eigenvalues: Tensor) -> Tensor:
    positive = eigenvalues.clamp(min=0)  # rounding leaves eigenvalues of a rank-deficient matrix just below 0
    return positive / positive.sum(-1, keepdim=True)
