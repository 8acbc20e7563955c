"""Files written at once and read whole: a reader finds the old one, the new one or none, never a part of one."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import h5netcdf
import h5py
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore

from dropeact import failures, netcdf
from dropeact.axes import InputError

T = TypeVar("T")
# headers that take a third less room in files as small as these, and that every HDF5 from 1.10 on reads: what "latest"
# writes, HDF5 1.14 does not
FORMAT = ("v110", "v110")
NEWER = "bad version number"  # HDF5, of a file that a newer HDF5 wrote


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file of bytes atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Write a NetCDF file atomically, compressed without loss."""
    encoding = {str(name): _encoding(variable) for name, variable in dataset.data_vars.items()}
    written = io.BytesIO()  # in memory first: HDF5 ends the process where a disk is full
    with h5netcdf.File(written, "w", libver=FORMAT) as file:
        dataset.dump_to_store(H5NetCDFStore(file), encoding=encoding)
    write_bytes(path, written.getbuffer())
    for leftover in path.parent.glob(f"{path.name}.tmp.*"):  # of a process that was killed; one process writes a cell
        leftover.unlink(missing_ok=True)


def read_dataset(path: Path) -> xr.Dataset:
    """Read a NetCDF file that stands beside the store, like a trajectory.

    Raises
    ------
    InputError
        When there is none, or it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"expected a NetCDF file of dropeact; got none at {path}; measure it first")
    return whole(netcdf.read, path)


def whole(reader: Callable[[Path], T], path: Path) -> T:
    """What a reader finds in a file; one that is damaged, or may not be read, is refused by name."""
    try:
        return reader(path)
    except netcdf.DEFECTS as error:
        raise unread(error, path) or InputError(_unusable(error, path)) from None


def _unusable(error: Exception, path: Path) -> str:
    if NEWER in str(error):
        return f"expected a file for HDF5 {h5py.version.hdf5_version} or older; got a newer {path}; update h5py"
    return f"expected a NetCDF file of dropeact; got a damaged {path} ({type(error).__name__}); delete it"


def unread(error: Exception, path: Path) -> InputError | None:
    """The line about a file that the system does not let be read; None where what it holds is at fault."""
    found = failures.NUMBER.search(str(error))  # HDF5 says the number in its text alone; 0 where a file is too short
    number = getattr(error, "errno", None) or int(next(filter(None, found.groups())) if found else 0)
    if not number:
        return None
    return InputError(f"expected to read {path}; got {os.strerror(number).lower()}; make it readable and try again")


def listed(folder: Path) -> list[str]:
    """The names in a folder; none where there is no such folder, and one that may not be read is refused."""
    try:
        return os.listdir(folder)
    except OSError as error:
        refuse(error)
        return []


def refuse(error: OSError) -> None:
    """Refuse what may not be read: what it holds would pass for what was never measured."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise unread(error, Path(error.filename)) or error from None


def stamp(file: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced: the time of its last change, its size and its inode."""
    try:
        found = file.stat()
    except PermissionError as error:  # a folder that may be listed and not entered
        raise unread(error, file) or error from None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise failures.told(error, path) or error from None
    finally:
        temporary.unlink(missing_ok=True)


def _encoding(variable: xr.DataArray) -> dict[str, object]:
    """Lossless compression; strings and scalars as they are."""
    if variable.ndim == 0 or not np.issubdtype(variable.dtype, np.number):
        return {}
    return {"compression": "gzip", "compression_opts": 6, "shuffle": True}
