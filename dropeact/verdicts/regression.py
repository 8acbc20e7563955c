"""Two folders of results -> what moved between them, record by record; a verdict that was there is never lost silently.

Every record of either run is in exactly one state:

==================  ================================================================================================
state               means
==================  ================================================================================================
verdict changed     the baseline's verdict and the new one differ, in either direction,
                    or the claim's function now ends with an error                                   (a regression)
no longer measured  the baseline has a verdict, the new run lacks the measurement                    (a regression)
orphaned verdict    the baseline has a verdict for a record that no claim registers any more         (a regression)
fewer texts         the same verdict, from fewer texts than the baseline's                           (a regression)
moved               the same verdict, but the 95 % interval of the change of the estimate leaves out 0
same                the same verdict, and no change that is beyond its interval and the noise floor
new claim           the baseline never judged this record
missing baseline    the new run measured it, the baseline did not
not measured        neither run measured it
==================  ================================================================================================

The verdict that counts as the baseline's is the one in its verdicts.json, which somebody accepted; where there is none,
its store is judged now. A record that moved within its verdict is named but is no regression: the declared region, not
the last run, decides what is true of a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

from dropeact.verdicts.movement import Movement, estimates, movement, recorded_movement
from dropeact.verdicts.records import Record
from dropeact.verdicts.registry import Claim
from dropeact.verdicts.sides import Difference, Side, baseline, comparable, current, provenance, texts_of

State = Literal[
    "verdict changed",
    "no longer measured",
    "orphaned verdict",
    "fewer texts",
    "moved",
    "same",
    "new claim",
    "missing baseline",
    "not measured",
]
REGRESSIONS: tuple[State, ...] = ("verdict changed", "no longer measured", "orphaned verdict", "fewer texts")
STATES: tuple[State, ...] = (*REGRESSIONS, "moved", "new claim", "missing baseline", "same", "not measured")
UNREGISTERED = "no claim registers it any more (one of your own: give --claims=FILE)"
RANK = {"supported": 3, "inconclusive": 2, "contradicted": 1}


@dataclass(frozen=True)
class Change:
    """One record in both runs: its state, the records, how far the estimate moved, and remarks."""

    key: str
    state: State
    old: Record | None
    new: Record | None
    movement: Movement | None = None
    notes: tuple[str, ...] = ()

    @property
    def regressed(self) -> bool:
        """Whether this record fails the comparison."""
        return self.state in REGRESSIONS

    @property
    def verdicts(self) -> tuple[str, str]:
        """The baseline's verdict and the new one; a dash where there is none."""
        return (self.old.verdict if self.old else "–", self.new.verdict if self.new else "–")


@dataclass(frozen=True)
class Comparison:
    """Two runs compared: what they were not measured alike in, then every record."""

    old: Path
    new: Path
    provenance: tuple[Difference, ...]
    changes: tuple[Change, ...]

    @property
    def regressed(self) -> tuple[Change, ...]:
        """The records that fail."""
        return tuple(change for change in self.changes if change.regressed)

    @property
    def status(self) -> int:
        """Exit status: 0 nothing regressed, 1 regressed (2, not comparable, is an InputError)."""
        return 1 if self.regressed else 0


def compare(old: Path, new: Path, *, claims: Mapping[str, Claim] | None = None) -> Comparison:
    """Compare the results in `new` with the baseline in `old`, by every registered claim or by `claims`.

    Raises
    ------
    InputError
        If one of them holds no results, or they are of different pairs (neither the same pair nor the same RoPE
        checkpoint): exit status 2.
    """
    return compared(baseline(old, claims), current(new, claims))


def compared(before: Side, after: Side) -> Comparison:
    """Compare two runs that are read already."""
    comparable(before, after)
    changes = [changed(key, before, after) for key in dict.fromkeys([*after.records, *before.records])]
    changes.sort(key=lambda change: STATES.index(change.state))
    return Comparison(before.directory, after.directory, tuple(provenance(before.run, after.run)), tuple(changes))


def changed(key: str, before: Side, after: Side) -> Change:
    """The state of one record."""
    old, new = before.records.get(key), after.records.get(key)
    if new is None:
        state = "not measured" if old is not None and missing(old) else "orphaned verdict"
        return Change(key, state, old, None, notes=(UNREGISTERED,))
    if old is None:
        state = "not measured" if missing(new) else "new claim"
        return Change(key, state, None, new, notes=("the baseline never judged it",))
    if missing(old) or missing(new):
        if missing(old) and missing(new):
            return Change(key, "not measured", old, new)
        state = "missing baseline" if missing(old) else "no longer measured"
        return Change(key, state, old, new, notes=((old if missing(old) else new).reason,))
    moved, notes = moved_between(key, before, after), remarks(key, before, after)
    counts = _texts(key, before), _texts(key, after)
    fewer = 0 < counts[1] < counts[0]  # where nothing is estimated, nothing is counted
    if fewer:
        notes = (f"{counts[1]} texts, the baseline has {counts[0]}", *notes)
    if old.verdict != new.verdict or (new.is_broken and not old.is_broken):
        return Change(key, "verdict changed", old, new, moved, (_direction(old, new), *notes))
    state = "fewer texts" if fewer else "moved" if moved is not None and moved.beyond else "same"
    return Change(key, state, old, new, moved, notes)


def moved_between(key: str, before: Side, after: Side) -> Movement | None:
    """How far a record's estimate moved: per text where the texts are the same, else from the two intervals."""
    old, new = before.evaluated.get(key), after.evaluated[key]
    if old is None or old.outcome is None or new.outcome is None:
        return recorded_movement(before.records[key], after.records[key])
    corpus = new.protocol.split(",")[0]
    same_texts = texts_of(before, corpus) == texts_of(after, corpus)
    return movement(old.outcome, new.outcome, new.region, same_texts=same_texts)


def remarks(key: str, before: Side, after: Side) -> tuple[str, ...]:
    """What a reader must know before comparing: the claim changed, or the baseline is judged otherwise today."""
    old, new = before.records[key], after.records[key]
    notes = []
    if old.claim_hash and old.claim_hash != new.claim_hash:
        notes.append("the claim changed since the baseline")
    if old.label == new.label and old.region != new.region:  # another part of a claim has a region of its own
        notes.append(f"the region changed from {_region(old)} to {_region(new)}")
    if before.today and (today := before.today[key].verdict if key in before.today else "") not in ("", old.verdict):
        notes.append(f"the baseline itself is {today} when it is judged today")
    if old.label != new.label:
        notes.append(f"{new.label or 'one estimate'}, the baseline shows {old.label or 'one estimate'}")
    return tuple(notes)


def _region(record: Record) -> str:
    """A record's region in words; a side that is open is None."""
    scale, low, high = (record.region[name] for name in ("scale", "low", "high"))
    if high is None:
        return f"{scale} >= {-inf if low is None else low:g}"
    return f"{scale} <= {high:g}" if low is None else f"{scale} in [{low:g}, {high:g}]"


def missing(record: Record) -> bool:
    """Whether a record has no verdict because the measurement behind it is not there."""
    return record.verdict == "not measured" or record.reason.startswith("missing measurement")


def _direction(old: Record, new: Record) -> str:
    worse = RANK.get(new.verdict, 0) < RANK.get(old.verdict, 0)
    return f"{'worse' if worse else 'other'} than the baseline{f': {new.reason}' if new.reason else ''}"


def _texts(key: str, side: Side) -> int:
    item = side.evaluated.get(key)
    if item is not None and item.outcome is not None:
        return max(estimate.texts for estimate in estimates(item.outcome).values())
    return side.records[key].n
