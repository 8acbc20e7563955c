"""Records: one per (claim, kind), as a value, as JSON and as CSV."""

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from dropeact.verdicts.rule import Verdict

SCHEMA = 1
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


def from_json(text: str) -> tuple[list[Record], dict[str, Any]]:
    """Records and provenance of a verdicts.json.

    Raises
    ------
    ValueError
        When it is of a later schema than this version knows.
    """
    body = json.loads(text)
    if body["schema"] > SCHEMA:
        raise ValueError(f"schema {body['schema']}, of a later dropeact than this, which knows {SCHEMA}")
    return [Record(**claim) for claim in body["claims"]], body["provenance"]


def as_csv(records: list[Record]) -> str:
    """One line per record; the region and the published value as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(Record)]
    writer.writerow(names)
    for record in records:
        values = asdict(record)
        writer.writerow([json.dumps(v) if isinstance(v := values[name], dict) else v for name in names])
    return out.getvalue()


def finite(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return float(value) if isfinite(value) else None
