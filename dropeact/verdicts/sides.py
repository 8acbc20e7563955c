"""A folder of results as one side of a comparison: its run, its records, and what each was judged from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dropeact import pairs
from dropeact.axes import COLUMNS, InputError
from dropeact.run_file import checked_run
from dropeact.store import Store
from dropeact.verdicts import expected
from dropeact.verdicts.engine import judged
from dropeact.verdicts.evaluation import Evaluated, outcomes
from dropeact.verdicts.records import RESTORE, Record, read_verdicts
from dropeact.verdicts.registry import Claim

FIRST = ("sha256", "id", "revision", "quantization")  # of an identity; what else it says follows
VERSIONS = ("dropeact", "torch", "transformers", "numpy", "scipy")


@dataclass(frozen=True)
class Difference:
    """A setting in which the two runs differ."""

    what: str
    old: str
    new: str


@dataclass(frozen=True)
class Side:
    """One run: where it lies, its run.json, its records and what each was judged from.

    `records` are those that count; `today` are those that the same store gives when it is judged now.
    """

    directory: Path
    run: Mapping[str, Any]
    records: Mapping[str, Record]
    evaluated: Mapping[str, Evaluated]
    today: Mapping[str, Record]


def current(directory: Path, claims: Mapping[str, Claim] | None = None) -> Side:
    """A run judged now, from its store, by every claim or by `claims`."""
    store = Store(directory)
    run = store.read_run()
    if not store.files():
        raise InputError(f"expected stored results; got none in {directory}; measure first")
    evaluated = outcomes(directory, claims=claims)
    records = judged(evaluated, expected.load(run["pair"]["name"]).families)
    by_key = {f"{item.claim.id}[{item.kind}]": item for item in evaluated}
    by_name = {record.key: record for record in records}
    return Side(directory, run, by_name, by_key, by_name)


def baseline(directory: Path, claims: Mapping[str, Claim] | None = None) -> Side:
    """A baseline: the records of its verdicts.json, and its store where there is one; one of the two must be there."""
    file = directory / "verdicts.json"
    if not file.is_file():
        return current(directory, claims)
    records, found = read_verdicts(file)
    run = checked_run(found, f"the provenance of {file}", RESTORE)
    accepted = {record.key: record for record in records}
    if not Store(directory).files():
        return Side(directory, run, accepted, {}, {})
    return replace(current(directory, claims), records=accepted)


def texts_of(side: Side, corpus: str) -> tuple[object, ...]:
    """What names the texts behind a corpus: the hash over ids and texts, the arm, and the halves that are stored."""
    arm = side.run.get("arm")
    halves = {file.stem.rsplit("-", 1)[-1] for file in Store(side.directory).files() if file.match(f"{corpus}-{arm}/*")}
    return side.run.get("corpus"), arm, frozenset(halves)


def comparable(before: Side, after: Side) -> None:
    """Refuse runs that have neither the pair nor the RoPE checkpoint in common."""
    one, other = (pairs.from_dict(dict(side.run["pair"])) for side in (before, after))
    weights = [side.run.get("checkpoints", {}).get("rope", {}).get("sha256") for side in (before, after)]
    if one.name != other.name and not (weights[0] and weights[0] == weights[1]):
        raise InputError(
            f"expected runs of one pair or of one RoPE checkpoint; got {one.name} in {before.directory} and "
            f"{other.name} in {after.directory}; compare runs of the same pair"
        )


def provenance(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """How the settings of the two runs differ: the weights first, versions last."""
    pairs_of = [("pair", old["pair"]["name"], new["pair"]["name"])]
    for column in COLUMNS:
        one, other = (run.get("checkpoints", {}).get(column, {}) for run in (old, new))
        fields = [name for name in dict.fromkeys([*FIRST, *one, *other]) if name != "adapter"]
        pairs_of += [(f"{column} {name}", one.get(name), other.get(name)) for name in fields]
        adapters = [identity.get("adapter") or {} for identity in (one, other)]
        names = dict.fromkeys([*adapters[0], *adapters[1]])
        pairs_of += [(f"{column} adapter {name}", adapters[0].get(name), adapters[1].get(name)) for name in names]
    pairs_of += [(name, old.get(name), new.get(name)) for name in ("corpus", "texts", "arm", "dtype", "sets", "device")]
    versions = [run.get("versions", {}) for run in (old, new)]
    pairs_of += [(f"{name} version", versions[0].get(name), versions[1].get(name)) for name in VERSIONS]
    return [Difference(what, _short(one), _short(other)) for what, one, other in pairs_of if one != other]


def _short(value: Any) -> str:
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 24 else f"{text[:16]}…"
