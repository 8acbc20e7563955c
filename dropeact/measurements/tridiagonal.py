"""Symmetric matrices -> tridiagonal ones -> eigenvalues: two routines of LAPACK, called without Python's lock.

SciPy's own wrappers hold that lock: matrices on several threads would wait for one another. These are the routines that
it offers to compiled code, in scipy.linalg.cython_lapack.
"""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cython_lapack  # pyright: ignore[reportAttributeAccessIssue]

COLUMNS_AT_ONCE = 64  # LAPACK takes 32 of them where it is not tuned otherwise, and uses no more room than it needs
LOWER = np.array([b"L"])  # its reduction leaves the first basis vector as it is; that of the upper half the last one


class Tridiagonal(NamedTuple):
    """A symmetric tridiagonal matrix."""

    diagonal: Float[np.ndarray, " n"]
    beside: Float[np.ndarray, " m"]

    def without_first(self) -> "Tridiagonal":
        """Without its first row and column."""
        return Tridiagonal(self.diagonal[1:], self.beside[1:])

    def eigenvalues(self) -> Float[np.ndarray, " n"]:
        """In ascending order.

        Raises
        ------
        numpy.linalg.LinAlgError
            When LAPACK does not find all of them.
        """
        found = self.diagonal.copy()
        _call(DSTERF, len(found), found, self.beside.copy())
        return found


def tridiagonal(matrix: Float[np.ndarray, "n n"]) -> Tridiagonal:
    """Return T = Q^T A Q for a symmetric A of one row or more, in float64, where Q e_0 = e_0.

    T without its first row and column is therefore similar to A without its own, and |T_10| the length of the rest of
    A's first column.

    Raises
    ------
    numpy.linalg.LinAlgError
        When LAPACK refuses the matrix.
    """
    size = len(matrix)
    work = np.array(matrix, dtype=np.float64, order="F")
    diagonal, beside, scales = np.empty(size), np.empty(size - 1), np.empty(size - 1)
    room = np.empty(COLUMNS_AT_ONCE * size)
    _call(DSYTRD, LOWER, size, work, size, diagonal, beside, scales, room, room.size)
    return Tridiagonal(diagonal, beside)


def _routine(name: str, arguments: int) -> Callable[..., None]:
    """A routine of LAPACK's; ctypes leaves Python's lock while it runs."""
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    capsule = cython_lapack.__pyx_capi__[name]
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address_of(capsule, name_of(capsule)))


def _call(routine: Callable[..., None], *arguments: int | np.ndarray) -> None:
    """Call it with numbers and arrays by reference; the status that it gives last must be 0.

    Numbers have 64 bits, of which a LAPACK built for 32 reads the lower half.
    """
    status = np.zeros(1, "<i8")
    given = [np.array([a], "<i8") if isinstance(a, int) else a for a in arguments]
    routine(*(array.ctypes.data for array in (*given, status)))
    if status.any():
        raise np.linalg.LinAlgError(f"LAPACK gave status {status[0]} for {given[0]}")


DSYTRD = _routine("dsytrd", 10)
DSTERF = _routine("dsterf", 4)
