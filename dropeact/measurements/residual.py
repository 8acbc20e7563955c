"""The residual stream of one text at one depth -> norms of its tokens, and how many directions it really uses."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

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


def spectra(
    hidden: Float[Tensor, "batch token hidden"],
) -> tuple[Float[Tensor, "batch rank"], Float[Tensor, "batch other_rank"]]:
    """Squared singular values of each text's tokens, uncentred: with the first token, and without it.

    They are the eigenvalues of the smaller Gram matrix, X X^T or X^T X; leaving a token out takes a row and a column
    from the former and x_0 x_0^T from the latter. NaN where a text holds a value that is not finite.
    """
    if hidden.shape[1] <= hidden.shape[2]:
        gram = hidden @ hidden.mT
        smaller = gram[:, 1:, 1:]
    else:
        gram = hidden.mT @ hidden
        smaller = gram - hidden[:, 0, :, None] * hidden[:, 0, None, :]
    values = eigenvalues([*gram, *smaller])
    return torch.stack(values[: len(gram)]), torch.stack(values[len(gram) :])


def eigenvalues(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Eigenvalues of symmetric matrices, one matrix a thread: LAPACK gains little from more on a few hundred rows.

    Elsewhere than on a CPU one after the other: CUDA's solver must not be loaded by several threads at once.
    """
    if any(matrix.device.type != "cpu" for matrix in matrices):
        return [_eigenvalues(matrix) for matrix in matrices]
    return list(_threads(torch.get_num_threads()).map(_eigenvalues, matrices))


def wide(tensor: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def labelled(seen: Seen) -> xr.Dataset:
    """Every statistic of the stream (text, depth)."""
    return xr.Dataset({name: (("text", "depth"), seen[name].T.numpy()) for name in NAMES})


def _eigenvalues(matrix: Tensor) -> Tensor:
    if not matrix.isfinite().all():
        return matrix.new_full(matrix.shape[:1], torch.nan)
    return torch.linalg.eigvalsh(matrix)


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def _shares(eigenvalues: Tensor) -> Tensor:
    positive = eigenvalues.clamp(min=0)  # rounding leaves eigenvalues of a rank-deficient matrix just below 0
    return positive / positive.sum(-1, keepdim=True)
