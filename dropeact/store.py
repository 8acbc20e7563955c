"""Measurements and provenance on disk: one NetCDF file per cell, written atomically, resumed by content key.

A results folder holds `run.json` (the pair, the checkpoints, the corpus, versions) and `store/<column>/<corpus>-<arm>/
<measurement>-<half>.nc`; a measurement of many conditions or lengths is a cell each, `<measurement>.<condition>-
<half>.nc`, and is read as one. Every file carries the hash of everything that its numbers depend on; a run measures a
cell again when that hash changed, and never overwrites a file it does not understand.
"""

import contextlib
import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock
import xarray as xr

from dropeact import netcdf, run_file
from dropeact.axes import InputError
from dropeact.files import listed, refuse, stamp, whole, write_dataset
from dropeact.joining import beside, joined
from dropeact.run_file import SCHEMA

LOCK_SECONDS = 5.0
PLACE = re.compile(r"(?P<column>[^/]+)/(?P<corpus>[^/]+)-(?P<arm>[^/-]+)/(?P<measurement>[^/]+)-[^/-]+\.nc")


@dataclass(frozen=True)
class Cell:
    """One file of the store: a measurement of one column on one half of a corpus, with all that it depends on."""

    column: str
    corpus: str
    arm: str
    half: str
    measurement: str
    depends: dict[str, Any] = field(compare=False, default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the cell lies, relative to the store."""
        return Path(self.column, f"{self.corpus}-{self.arm}", f"{self.measurement}-{self.half}.nc")

    @property
    def key(self) -> str:
        """SHA-256 over the canonical JSON of everything the numbers depend on."""
        named = [self.column, self.corpus, self.arm, self.half, self.measurement, SCHEMA]
        return hashlib.sha256(canonical([named, self.depends]).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.column}/{self.corpus}-{self.arm}/{self.measurement}-{self.half}"


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Store:
    """The measurements of one pair in one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.root = self.directory / "store"

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is stored with the same key; a file that cannot be read is refused by name."""
        path = self.root / cell.path
        if path.name not in listed(path.parent):
            return False
        attrs = whole(netcdf.attributes, path)
        run_file.check_schema(attrs, path)
        return attrs.get("dropeact_key") == cell.key

    def save(self, cell: Cell, dataset: xr.Dataset, provenance: dict[str, Any]) -> Path:
        """Write one cell atomically: a reader finds the old file, the new file or none, never a part of one."""
        path = self.root / cell.path
        labelled = dataset.assign_attrs(
            dropeact_schema=SCHEMA,
            dropeact_key=cell.key,
            dropeact_cell=canonical([cell.column, cell.corpus, cell.arm, cell.half, cell.measurement]),
            dropeact_depends=canonical(cell.depends),
            dropeact_provenance=canonical(provenance),
        )
        write_dataset(path, labelled)
        return path

    def load(self, column: str, corpus: str, arm: str, measurement: str) -> xr.Dataset:
        """Both halves of a measurement, joined along `text` (and `selected_on` where it is pooled over texts).

        Conditions or lengths with a cell of their own are joined along that dimension, by name or from short to long;
        where one lacks a label that another has, a float is NaN, an integer -1, a text empty.

        Raises
        ------
        FileNotFoundError
            Naming the measurement that is not stored, or the half that one condition lacks and another has.
        InputError
            When the folder, or a file of it, may not be read or is another cell's.
        """
        folder = self.root / column / f"{corpus}-{arm}"
        names = listed(folder)
        wanted = {name for end in ("-?.nc", ".*-?.nc") for name in fnmatch.filter(names, f"{measurement}{end}")}
        files = [folder / name for name in sorted(wanted)]
        missing = _missing(files) if files else measurement
        if missing:
            raise FileNotFoundError(f"{column}/{corpus}-{arm}/{missing}")
        return _loaded(tuple((file, *stamp(file)) for file in files)).copy(deep=True)

    def files(self) -> list[Path]:
        """Every stored file, sorted; a folder that may not be read is refused, and never taken for an empty one."""
        walked = os.walk(self.root, onerror=refuse)
        return sorted(Path(folder, name) for folder, _, names in walked for name in names if name.endswith(".nc"))

    def tree(self) -> xr.DataTree:
        """All measurements as one labelled tree: /<column>/<corpus>-<arm>/<measurement>."""
        if not self.files():
            raise InputError(f"expected stored results; got none in {self.directory}; measure first")
        groups: dict[str, xr.Dataset] = {}
        for file in self.files():
            place = PLACE.fullmatch(file.relative_to(self.root).as_posix())
            if place is None:
                raise InputError(f"expected cells alone in {self.root}; got a foreign {file}; move it away")
            column, corpus, arm, part = place.groups()
            measurement = part.split(".")[0]
            name = f"/{column}/{corpus}-{arm}/{measurement}"
            if name not in groups:
                groups[name] = self._whole_measurement(column, corpus, arm, measurement)
        return xr.DataTree.from_dict(groups)

    def _whole_measurement(self, column: str, corpus: str, arm: str, measurement: str) -> xr.Dataset:
        try:
            return self.load(column, corpus, arm, measurement)
        except FileNotFoundError as missing:
            raise InputError(
                f"expected both halves; got {self.directory} without {missing}; the same measuring command completes it"
            ) from None

    def read_run(self) -> dict[str, Any]:
        """What `run.json` says of the pair, the checkpoints and the versions."""
        return run_file.read(self.directory)

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Write `run.json` atomically."""
        run_file.write(self.directory, run)

    @contextlib.contextmanager
    def locked(self, name: str = ".lock") -> Iterator[None]:
        """Hold the folder for one measuring process (of each name); a second one is told who has it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.directory / name, timeout=LOCK_SECONDS)
        holder = self.directory / f"{name}.holder"
        try:
            lock.acquire()
        except filelock.Timeout:
            who = holder.read_text("utf-8") if holder.is_file() else "another process"
            raise InputError(
                f"expected to be alone in {self.directory}; got {who} measuring there; wait or choose another --out"
            ) from None
        try:
            holder.write_text(f"process {os.getpid()}", "utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def _measurement(file: Path) -> str:
    """`<measurement>` or `<measurement>.<condition>` of a file of the store."""
    return file.stem.rsplit("-", 1)[0]


def _missing(files: Sequence[Path]) -> str:
    """The first file, without suffix, that some condition lacks and another has; empty where none is."""
    stems = {file.stem for file in files}
    halves = sorted({stem[-1] for stem in stems})
    wanted = (f"{_measurement(file)}-{half}" for file in files for half in halves)
    return next((stem for stem in wanted if stem not in stems), "")


@lru_cache(maxsize=64)
def _loaded(stamped: tuple[tuple[Path, int, int, int], ...]) -> xr.Dataset:
    """The files of one measurement, read once for as long as none of them is replaced."""
    halves: dict[str, list[xr.Dataset]] = {}
    for file, *_ in stamped:
        dataset = whole(netcdf.read, file)
        run_file.check_schema(dataset.attrs, file)
        _check_place(dataset.attrs, file)
        halves.setdefault(_measurement(file), []).append(dataset)
    return beside([joined(parts) for parts in halves.values()])


def _check_place(attrs: Mapping[str, Any], path: Path) -> None:
    """Refuse a cell in the place of another one, as copying a file or a whole column over it leaves."""
    named = json.loads(attrs.get("dropeact_cell", "[]"))
    if named and path.parts[-3:] != (own := Cell(*named).path).parts:
        raise InputError(f"expected a cell in its own place; got {own} as {path}; delete it and measure again")
