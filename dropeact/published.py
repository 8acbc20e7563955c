"""The published record: every catalogued claim and the raw figures behind it, read from claims/published/."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from dropeact.axes import InputError
from dropeact.bundled import folder

Number = int | float
Figure = Number | tuple[Number, ...]
Experiment = int | Literal["upstream"]

_REQUIRED = {"statement", "source", "experiment"}
_OPTIONAL = {"figures", "tolerance", "n", "evidence", "note"}


@dataclass(frozen=True)
class Tolerance:
    """How far a recomputed figure may lie from the published one: `value`, absolute or relative."""

    value: Number
    kind: Literal["absolute", "relative"]

    def half_width(self, figure: Number) -> Number:
        """Give the distance allowed around `figure`, in the unit of the figure."""
        return self.value if self.kind == "absolute" else self.value * abs(figure)


@dataclass(frozen=True)
class Published:
    """One catalogued claim: its statement in our words, and the figures printed for it.

    `figures` holds what was printed, shares and rates as fractions of 1; where there are several, `change` or
    `ratio` is the one judged, unless the note says otherwise. `tolerance` is None where only the direction is judged.
    `evidence` is the section of `evidence()` with the raw figures, None where none were committed.
    """

    id: str
    statement: str
    source: str
    experiment: Experiment
    figures: Mapping[str, Figure]
    tolerance: Tolerance | None = None
    n: int | None = None
    evidence: str | None = None
    note: str = ""


def path(name: str) -> Path:
    """Find one of the files of claims/published/."""
    return folder("claims") / "published" / name


@cache
def claims() -> Mapping[str, Published]:
    """Read the catalogue: every claim by its id, in the order of the experiments."""
    file = path("claims.toml")
    return MappingProxyType({name: _published(name, entry) for name, entry in read_toml(file).items()})


@cache
def evidence() -> dict[str, Any]:
    """Read the raw figures by section; every section names its source file, key and commit."""
    return read_json(path("evidence.json"))


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file; an error names the file and the line."""
    return _parsed(file, tomllib.loads, "TOML")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; an error names the file and the line."""
    value = _parsed(file, json.loads, "JSON")
    if not isinstance(value, dict):
        raise InputError(f"expected one JSON object in {file}; got a {type(value).__name__}; wrap it in {{...}}")
    return value


def _parsed(file: Path, parse: Any, name: str) -> Any:
    try:
        return parse(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"expected a readable {name} file; got {file}: {error.strerror}; check the path") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"expected {name} in {file}; got {reason}; correct that line") from None


def _published(name: str, entry: Any) -> Published:
    keys = set(entry) if isinstance(entry, dict) else set()
    if wrong := (_REQUIRED - keys) | (keys - _REQUIRED - _OPTIONAL):
        raise InputError(
            f"expected {', '.join(sorted(_REQUIRED))} and at most {', '.join(sorted(_OPTIONAL))} in claim [{name}]; "
            f"missing or unknown: {', '.join(sorted(wrong))}; correct claims.toml"
        )
    rest = {key: value for key, value in entry.items() if key not in {"figures", "tolerance"}}
    try:
        tolerance = Tolerance(**entry["tolerance"]) if "tolerance" in entry else None
    except TypeError as error:
        raise InputError(f"expected tolerance = {{ value, kind }} in claim [{name}]; got {error}") from None
    return Published(id=name, figures=_figures(entry.get("figures", {})), tolerance=tolerance, **rest)


def _figures(table: dict[str, Any]) -> Mapping[str, Figure]:
    return MappingProxyType({key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
