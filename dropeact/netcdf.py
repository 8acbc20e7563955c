"""A NetCDF file -> an xarray.Dataset, read straight from HDF5 where this project wrote it, else by xarray.

xarray opens any NetCDF file, lazily, and asks HDF5 for some forty things per variable; a store holds hundreds of small
files of one make. Here each is opened once and read whole. What is not of that make is left to xarray.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

LABELS = frozenset({"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"})
UNDERSTOOD = LABELS | {"_FillValue", "coordinates", "dtype"}
NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
PREFIX = "_nc4_non_coord_"  # of a variable that is named like a dimension and is not its coordinate
DEFECTS = (OSError, ValueError, KeyError, RuntimeError)  # what HDF5, h5netcdf and xarray raise on a damaged file


class OfOtherMake(Exception):
    """A file holds something that this project does not write."""


def read(path: Path) -> xr.Dataset:
    """Everything in the file, in memory, as `xr.open_dataset(path).load()` gives it (`encoding` apart)."""
    try:
        with h5py.File(path, "r") as file:
            return plain(file)
    except OfOtherMake:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()


def attributes(path: Path) -> dict[str, Any]:
    """The attributes of the file alone."""
    try:
        with h5py.File(path, "r") as file:
            return _attributes(file)
    except OfOtherMake:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.attrs


def plain(file: h5py.File) -> xr.Dataset:
    """The variables, coordinates and attributes of an open file.

    Raises
    ------
    OfOtherMake
        When it holds groups, dtypes or attributes of variables that this project does not write.
    """
    attrs = _attributes(file)
    stored = {str(name): _dataset(file, str(name)) for name in file}
    dims = {_integers(d, b"_Netcdf4Dimid").item(): n for n, d in stored.items() if h5py.h5ds.is_scale(d.id)}
    named: set[str] = set()
    variables = {}
    for name, dataset in stored.items():
        if name in dims.values() and h5py.h5ds.get_scale_name(dataset.id).startswith(NO_VARIABLE):
            continue
        held = _held(dataset)
        variables[name] = xr.Variable(_dims(dataset, dims), _values(dataset, held))
        if "coordinates" in held:
            named.update(_text(dataset, "coordinates").split())
    coords = {n: v for n, v in variables.items() if n in named or v.dims == (n,)}
    return xr.Dataset({n: v for n, v in variables.items() if n not in coords}, coords=coords, attrs=attrs)


def _attributes(file: h5py.File) -> dict[str, Any]:
    attrs = {name: _attribute(file.attrs[name]) for name in file.attrs if name != "_NCProperties"}
    _require("coordinates" not in attrs)
    return attrs


def _attribute(value: Any) -> Any:
    """One attribute as NetCDF means it: a number is stored as an array of one, a list of texts as an array."""
    _require(isinstance(value, str) or (isinstance(value, np.ndarray) and value.size > 0))
    if isinstance(value, str):
        return value
    held = value.tolist() if value.dtype.kind == "O" else value
    return held[0] if len(held) == 1 else held


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or name.startswith(PREFIX) or dataset.maxshape != dataset.shape:
        raise OfOtherMake
    return dataset


def _held(dataset: h5py.Dataset) -> set[str]:
    held = set(dataset.attrs)
    _require(held <= UNDERSTOOD)
    return held


def _dims(dataset: h5py.Dataset, dims: dict[int, str]) -> tuple[str, ...]:
    if dataset.ndim == 0:
        return ()
    ids = _integers(dataset, b"_Netcdf4Coordinates").ravel().tolist()
    _require(set(ids) <= dims.keys())
    return tuple(dims[id] for id in ids)


def _values(dataset: h5py.Dataset, held: set[str]) -> np.ndarray:
    """The numbers or texts of one variable; a missing float is NaN, bool is stored as int8."""
    if (text := h5py.check_string_dtype(dataset.dtype)) is not None:
        _require(text.length is None and not held & {"_FillValue", "dtype"})
        return np.asarray(dataset.asstr()[()], "U")
    kind = dataset.dtype.kind
    _require(kind in "fiu" and dataset.dtype.isnative)
    _require("_FillValue" not in held or (kind == "f" and _is_nan(dataset.attrs["_FillValue"])))
    _require("dtype" not in held or _text(dataset, "dtype") == "bool")
    return np.asarray(dataset[()]).astype(bool if "dtype" in held else dataset.dtype, copy=False)


def _is_nan(value: Any) -> bool:
    return bool(np.isnan(value).all())


def _text(dataset: h5py.Dataset, name: str) -> str:
    value = dataset.attrs[name]
    if not isinstance(value, str):
        raise OfOtherMake
    return value


def _integers(dataset: h5py.Dataset, name: bytes) -> np.ndarray:
    _require(h5py.h5a.exists(dataset.id, name))
    attribute = h5py.h5a.open(dataset.id, name)
    values = np.empty(attribute.shape, attribute.dtype)
    attribute.read(values)
    return values


def _require(met: bool) -> None:
    if not met:
        raise OfOtherMake
