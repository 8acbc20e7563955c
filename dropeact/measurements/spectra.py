"""Tokens of a text -> their squared singular values, with the first token and without it, from one reduction.

LAPACK makes a symmetric matrix tridiagonal, which takes the time, and finds the eigenvalues of that. The first step
leaves the first basis vector as it is; what is left without that vector is a second spectrum, which costs a fifth.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float
from threadpoolctl import ThreadpoolController
from torch import Tensor

from dropeact.measurements.tridiagonal import Tridiagonal, tridiagonal


def spectra(
    hidden: Float[Tensor, "batch token hidden"],
) -> tuple[Float[Tensor, "batch rank"], Float[Tensor, "batch other_rank"]]:
    """Squared singular values of each text's tokens, uncentred: with the first token, and without it.

    They are the eigenvalues of the smaller Gram matrix, X X^T or X^T X. It is made where the tokens are and reduced on
    the CPU, a text a thread: solvers of a GPU take one matrix after the other. NaN where a value is not finite.

    Raises
    ------
    numpy.linalg.LinAlgError
        When LAPACK does not find them.
    """
    few = hidden.shape[1] <= hidden.shape[2]
    matrices = (hidden @ hidden.mT if few else _bordered(hidden)).cpu()
    with _blas().limit(limits=1):  # more threads would wait for those of torch, which stay awake for a while
        both = list(_threads(torch.get_num_threads()).map(_of_tokens if few else _of_columns, matrices.numpy()))
    with_first, without_first = zip(*both, strict=True)
    return torch.from_numpy(np.stack(with_first)), torch.from_numpy(np.stack(without_first))


def wide(tensor: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _of_tokens(gram: Float[np.ndarray, "token token"]) -> tuple[np.ndarray, np.ndarray]:
    """From X X^T: the first row and column are the first token's."""
    if not np.isfinite(gram).all():
        return np.full(len(gram), np.nan), np.full(len(gram) - 1, np.nan)
    reduced = tridiagonal(gram)
    return reduced.eigenvalues(), reduced.without_first().eigenvalues()


def _bordered(hidden: Float[Tensor, "batch token hidden"]) -> Float[Tensor, "batch hidden+1 hidden+1"]:
    """[[0, x_0^T], [x_0, X^T X]] for the tokens X after x_0."""
    matrices = hidden.new_zeros(len(hidden), hidden.shape[2] + 1, hidden.shape[2] + 1)
    matrices[:, 1:, 1:] = hidden[:, 1:].mT @ hidden[:, 1:]
    matrices[:, 0, 1:] = matrices[:, 1:, 0] = hidden[:, 0]
    return matrices


def _of_columns(bordered: Float[np.ndarray, "size size"]) -> tuple[np.ndarray, np.ndarray]:
    """From X^T X beside x_0, which becomes (|x_0|, 0, ...): adding x_0 x_0^T then changes one number."""
    if not np.isfinite(bordered).all():
        return np.full(len(bordered) - 1, np.nan), np.full(len(bordered) - 1, np.nan)
    reduced = tridiagonal(bordered)
    others = reduced.without_first()
    diagonal = others.diagonal.copy()
    diagonal[0] += reduced.beside[0] ** 2
    return Tridiagonal(diagonal, others.beside).eigenvalues(), others.eigenvalues()


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


@functools.cache
def _blas() -> ThreadpoolController:
    """Libraries of matrix products but torch's own."""
    return ThreadpoolController().select(user_api="blas")
