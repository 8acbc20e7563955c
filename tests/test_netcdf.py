"""Every file is read as xarray reads it: those of this project straight from HDF5, all others by xarray itself."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from dropeact import bundled, netcdf
from dropeact.files import write_dataset

STORED = {file.stem: file for file in sorted((bundled.folder("results") / "smollm2-135m").rglob("*-[AB].nc"))}


def by_xarray(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset.load()


def assert_same(read: xr.Dataset, expected: xr.Dataset) -> None:
    xr.testing.assert_identical(read, expected)
    assert {name: v.dtype for name, v in read.variables.items()} == {n: v.dtype for n, v in expected.variables.items()}
    assert [*read.variables] == [*expected.variables]
    assert [*read.coords] == [*expected.coords]
    assert [*read.indexes] == [*expected.indexes]
    assert {name: type(value) for name, value in read.attrs.items()} == {n: type(v) for n, v in expected.attrs.items()}


def odd() -> xr.Dataset:
    """What the stored results hold, and what a measurement may come to hold."""
    return xr.Dataset(
        {
            "right": (("text", "task"), np.array([[True, False], [False, True]])),
            "answer": (("text", "task"), np.array([["", "ä"], ["long answer", "β"]])),
            "count": (("text",), np.array([1, -1], np.int8)),
            "score": (("text", "bare"), np.array([[1, np.nan, 3]] * 2, np.float32)),
            "square": (("bare", "bare2"), np.zeros((3, 3), np.uint16)),
            "scalar": ((), 2.5),
            "name": ((), "rope"),
        },
        coords={
            "text": ["a", "b"],
            "half": ("text", ["A", "B"]),
            "task": [1.5, 2.5],
            "weight": (("text", "task"), np.ones((2, 2))),
            "where": "everywhere",
        },
        attrs={"dropeact_schema": 1, "errors": ["none", "wrong"], "one": ["alone"], "rank": 2.5, "several": [1, 2]},
    )


def layout_versions(content: bytes) -> list[int]:
    """The version of every data layout message: its type is 8, in object headers of version 2 (marked OHDR)."""
    found = []
    for header in re.finditer(b"OHDR", content):
        flags = content[header.start() + 5]
        place = header.start() + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = place + width + int.from_bytes(content[place : place + width], "little")
        place += width
        while place + 4 <= end:
            start = place + (6 if flags & 4 else 4)
            if content[place] == 8:
                found.append(content[start])
            place = start + int.from_bytes(content[place + 1 : place + 3], "little")
    return found


def test_results_are_of_a_format_that_older_hdf5_reads_against_their_bytes(tmp_path):
    # version 5 came with HDF5 2.0: what most installed h5py, netCDF4, R and Julia carry refuses it
    write_dataset(tmp_path / "odd.nc", odd())
    stored = sorted(bundled.folder("results").rglob("*.nc"))
    assert len(stored) > 200
    for path in (tmp_path / "odd.nc", *stored):
        assert set(layout_versions(path.read_bytes())) in ({3, 4}, {4}), path
    with h5py.File(tmp_path / "new.nc", "w", libver="latest") as file:
        file.create_dataset("many", data=np.arange(10), compression="gzip")
    newest = 5 if h5py.version.hdf5_version_tuple >= (2, 0, 0) else 4
    assert layout_versions((tmp_path / "new.nc").read_bytes()) == [newest]


@pytest.mark.parametrize("stem", STORED)
def test_the_plain_reader_gives_what_xarray_gives_against_xarray(stem):
    with h5py.File(STORED[stem], "r") as file:
        assert_same(netcdf.plain(file), by_xarray(STORED[stem]))


def test_a_written_dataset_of_every_kind_is_read_plainly_against_xarray(tmp_path):
    write_dataset(tmp_path / "odd.nc", odd())
    with h5py.File(tmp_path / "odd.nc", "r") as file:
        assert_same(netcdf.plain(file), by_xarray(tmp_path / "odd.nc"))
    assert_same(netcdf.read(tmp_path / "odd.nc"), by_xarray(tmp_path / "odd.nc"))
    attributes, expected = netcdf.attributes(tmp_path / "odd.nc"), by_xarray(tmp_path / "odd.nc").attrs
    assert_same(xr.Dataset(attrs=attributes), xr.Dataset(attrs=expected))


OTHER = {
    "missing integer": (xr.Dataset({"x": ("t", np.array([1, 2], np.int16))}), {"x": {"_FillValue": np.int16(2)}}),
    "missing number": (xr.Dataset({"x": ("t", [1.0, 2.0])}), {"x": {"_FillValue": 2.0}}),
    "scaled": (xr.Dataset({"x": ("t", [1.0, 2.0])}), {"x": {"scale_factor": 0.5, "dtype": "int16", "_FillValue": -1}}),
    "time": (xr.Dataset({"x": ("t", np.array(["2025-01-01", "2025-01-02"], "datetime64[ns]"))}), {}),
    "bytes": (xr.Dataset({"x": ("t", np.array([b"one", b"two"]))}), {}),
    "an attribute": (xr.Dataset({"x": ("t", [1.0, 2.0], {"unit": "nats"})}), {}),
    "no texts": (xr.Dataset({"x": ("t", np.zeros(0))}), {}),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_file_of_other_make_is_read_against_xarray(tmp_path, what):
    dataset, encoding = OTHER[what]
    dataset.to_netcdf(tmp_path / "other.nc", engine="h5netcdf", encoding=encoding)
    assert_same(netcdf.read(tmp_path / "other.nc"), by_xarray(tmp_path / "other.nc"))


@pytest.mark.parametrize("unlimited", [["t"], []])
def test_dimensions_that_may_grow_are_read_against_xarray(tmp_path, unlimited):
    dataset = xr.Dataset({"x": ("t", [1.0, 2.0])}, coords={"t": [3, 4]})
    dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf", unlimited_dims=unlimited)
    assert_same(netcdf.read(tmp_path / "x.nc"), by_xarray(tmp_path / "x.nc"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9])
def test_a_cut_file_fails_as_it_does_against_xarray(tmp_path, share):
    write_dataset(tmp_path / "whole.nc", odd())
    content = (tmp_path / "whole.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(netcdf.DEFECTS) as expected:
        by_xarray(tmp_path / "cut.nc")
    for reader in (netcdf.read, netcdf.attributes):
        with pytest.raises(expected.type):
            reader(tmp_path / "cut.nc")
