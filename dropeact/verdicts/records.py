"""Records: one per (claim, kind), as a value, as JSON and as CSV."""

import csv
import io
import json
import reprlib
from collections.abc import Mapping, Set
from dataclasses import MISSING, asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from dropeact.axes import InputError
from dropeact.published import read_json
from dropeact.verdicts.rule import Verdict

SCHEMA = 1
REGION = {"scale": str, "low": float | None, "high": float | None}
RESTORE = "restore it, or accept again"
ERROR = "error: "


@dataclass(frozen=True)
class Record:
    """What the suite says of one claim of one kind; floats are finite or None, an unbounded side is None."""

    id: str
    kind: str
    statement: str
    experiment: str
    source: str
    layers: str
    family: str
    verdict: Verdict
    estimate: float | None
    low: float | None
    high: float | None
    level: float
    unit: str
    n: int
    region: dict[str, Any]
    published: dict[str, Any] | None
    reason: str
    p_support: float | None
    p_contradict: float | None
    p_adjusted: float | None
    protocol: str
    notes: str
    set: str = "core"
    exact: bool = False
    label: str = ""
    sign_flip: float | None = None
    skewness: float | None = None
    claim_hash: str = ""
    remarks: str = ""
    revised: str = ""
    parts: list[Any] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The name of the record: `id[kind]`."""
        return f"{self.id}[{self.kind}]"

    @property
    def is_broken(self) -> bool:
        """Whether the claim's function ended with an error instead of an answer."""
        return self.reason.startswith(ERROR)


def by_experiment(experiment: str) -> tuple[int, str]:
    """The order of experiments: by number, then what has no number by name."""
    return (int(experiment) if experiment.isdigit() else 99, experiment)


def as_json(records: list[Record], provenance: dict[str, Any]) -> str:
    """The text of verdicts.json: schema, provenance, and every record in order."""
    body = {"schema": SCHEMA, "provenance": provenance, "claims": [asdict(record) for record in records]}
    return json.dumps(body, indent=1, sort_keys=False, allow_nan=False) + "\n"


def read_verdicts(file: Path) -> tuple[list[Record], dict[str, Any]]:
    """Records and provenance of a verdicts.json.

    Raises
    ------
    InputError
        When it cannot be read, is of a later schema than this version knows, or holds a field of another kind.
    """
    body = read_json(file)
    schema = body.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"expected verdicts of schema {SCHEMA} or older; got {schema} in {file}; update dropeact")
    kinds = {"schema": int, "provenance": dict[str, Any], "claims": list[Any]}
    _check(body, kinds, set(kinds), f"a verdicts.json of dropeact in {file}")
    return [_record(claim, str(file)) for claim in body["claims"]], body["provenance"]


def _record(claim: object, file: str) -> Record:
    kinds = {f.name: f.type for f in fields(Record)}
    needed = {f.name for f in fields(Record) if f.default is f.default_factory is MISSING}
    if not isinstance(claim, dict):
        raise InputError(f"expected records in {file}; got {reprlib.repr(claim)}; {RESTORE}")
    where = f"a record in {file}"
    _check(claim, kinds, needed, where)
    if unknown := sorted(claim.keys() - kinds):
        raise InputError(f"expected {where} without {unknown[0]!r}; got it; {RESTORE}")
    _check(claim["region"], REGION, set(REGION), f"the region of {claim['id']} in {file}")
    return Record(**claim)


def _check(held: Mapping[str, Any], kinds: Mapping[str, Any], needed: Set[str], where: str) -> None:
    """Refuse what lacks a field that is needed, or holds one of another kind."""
    for name, kind in kinds.items():
        if (name in needed or name in held) and not (name in held and _is(kind, held[name])):
            got = reprlib.repr(held[name]) if name in held else "none"
            wanted = "one of the verdicts" if kind is Verdict else getattr(kind, "__name__", kind)
            raise InputError(f"expected {name!r} of {where} as {wanted}; got {got}; {RESTORE}")


def _is(kind: Any, value: object) -> bool:
    """Whether a value of JSON is of the kind of a field; a number is finite, and a truth value is none."""
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool) and isfinite(value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(kind, UnionType):
        return any(_is(one, value) for one in get_args(kind))
    return isinstance(value, get_origin(kind) or kind)


def as_csv(records: list[Record]) -> str:
    """One line per record; the region, the published value and the parts as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f.name for f in fields(Record)]
    writer.writerow(names)
    for record in records:
        values = asdict(record)
        writer.writerow([json.dumps(v) if isinstance(v := values[name], dict | list) else v for name in names])
    return out.getvalue()


def finite(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return float(value) if isfinite(value) else None
