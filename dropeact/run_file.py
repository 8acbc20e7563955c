"""`run.json`: the pair, checkpoints, corpus and versions of a run, written atomically and checked when it is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropeact.axes import COLUMNS, InputError
from dropeact.files import unread, write_text

NAME = "run.json"
SCHEMA = 1  # of results: of this file and of every cell
RUN = {
    "pair": dict, "checkpoints": dict, "arm": str, "corpus": str | None, "texts": int, "dtype": str, "device": str,
    "seed": int, "versions": dict, "date": str,
}  # fmt: skip
INSIDE = {"pair": dict.fromkeys(("name", "rope", "drope"), str), "checkpoints": dict.fromkeys(COLUMNS, dict)}
RESTORE = "restore it or measure again"


def read(directory: Path) -> dict[str, Any]:
    """What the file in a folder of results says.

    Raises
    ------
    InputError
        When there is none, it cannot be read, a newer version wrote it, or it lacks something.
    """
    path = directory / NAME
    try:
        if not path.is_file():
            raise InputError(f"expected stored results with a run.json; got {directory}; measure first")
        run = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise unread(error, path) or error from None
    except (ValueError, RecursionError):
        raise InputError(f"expected JSON; got a damaged {path}; {RESTORE}") from None
    if not isinstance(run, dict) or not isinstance(run.get("schema", 0), int):
        raise InputError(f"expected a run of dropeact; got other JSON in {path}; {RESTORE}")
    if run.get("schema", 0) > SCHEMA:
        raise InputError(
            f"expected results of schema {SCHEMA} or older; got schema {run['schema']} in {path}; update dropeact"
        )
    return checked_run(run, str(path))


def write(directory: Path, run: Mapping[str, Any]) -> None:
    """Write the file atomically, and remove what a killed process left of it."""
    write_text(directory / NAME, json.dumps({"schema": SCHEMA} | dict(run), indent=1, sort_keys=True) + "\n")
    for leftover in directory.glob(f"{NAME}.tmp.*"):  # one process writes it
        leftover.unlink(missing_ok=True)


def checked_run(run: Mapping[str, Any], where: str, remedy: str = RESTORE) -> dict[str, Any]:
    """What is said of a run, where that is all that readers of results need; without `sets` it measured the core set.

    Raises
    ------
    InputError
        Naming the first thing that it lacks or that is of another kind.
    """
    for key, kind in RUN.items():
        if key not in run or not isinstance(run[key], kind):
            wanted = getattr(kind, "__name__", kind)
            raise InputError(f"expected {key!r} in {where} as {wanted}; got {run.get(key)!r}; {remedy}")
    for key, kinds in INSIDE.items():
        for name, kind in kinds.items():
            if not isinstance(run[key].get(name), kind):
                got = repr(run[key][name]) if name in run[key] else "none"
                raise InputError(f"expected {name!r} of {key!r} in {where}; got {got}; {remedy}")
    for column in COLUMNS:
        if not isinstance(adapter := run["checkpoints"][column].get("adapter") or {}, dict):
            raise InputError(f"expected the 'adapter' of {column!r} in {where} as dict; got {adapter!r}; {remedy}")
    sets = run.get("sets", ["core"])
    if not isinstance(sets, list) or not all(isinstance(name, str) for name in sets):
        raise InputError(f"expected 'sets' in {where} as a list of names; got {sets!r}; {remedy}")
    return {**run, "sets": sets}


def check_ended(run: Mapping[str, Any], directory: Path) -> None:
    """Refuse a run of which no set has ended: nothing of it is judged, which would pass as nothing unexpected.

    Raises
    ------
    InputError
        Naming the folder.
    """
    if not run["sets"]:
        raise InputError(f"expected a run that has ended; got {directory}; the same measuring command completes it")


def check_schema(attrs: Mapping[str, Any], path: Path) -> None:
    """Refuse a cell of other making, and one of a newer schema.

    Raises
    ------
    InputError
        Naming the file.
    """
    schema = attrs.get("dropeact_schema")
    if schema is None:
        raise InputError(f"expected a NetCDF file of dropeact; got a foreign {path}; move it away")
    if int(schema) > SCHEMA:
        raise InputError(f"expected results of schema {SCHEMA} or older; got {schema} in {path}; update dropeact")
