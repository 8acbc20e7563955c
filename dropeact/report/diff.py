"""A comparison of two runs -> lines for a terminal, Markdown for a pull request, JSON for a script."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dropeact.report import words
from dropeact.verdicts.records import Record, finite
from dropeact.verdicts.regression import STATES, Change, Comparison

SCHEMA = 1


def rendered(comparison: Comparison, style: str) -> str:
    """The comparison as `text`, `md` or `json`, with a line break at its end."""
    return {"text": as_text, "md": as_markdown, "json": as_json}[style](comparison)


def as_text(comparison: Comparison) -> str:
    """Provenance first, then a line for every record that is not the same, then the counts."""
    lines = [f"{comparison.new} against {comparison.old}"]
    lines += [f"  {d.what}: {d.old} -> {d.new}" for d in comparison.provenance]
    lines += [line(change) for change in told(comparison)]
    return "\n".join([*lines, counts(comparison)]) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """A summary line, the provenance, and a table of the records that are not the same."""
    lines = [f"**{verdict(comparison)}** `{comparison.new}` against `{comparison.old}`: {counts(comparison)}.", ""]
    if comparison.provenance:
        lines += ["| measured otherwise | baseline | now |", "|---|---|---|"]
        lines += [f"| {d.what} | `{d.old}` | `{d.new}` |" for d in comparison.provenance]
        lines += [""]
    if rows := told(comparison):
        lines += ["| record | state | verdict | estimate | change | |", "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(map(escaped, cells(change)))} |" for change in rows]
    return "\n".join(lines).rstrip() + "\n"


def as_json(comparison: Comparison) -> str:
    """Schema, exit status, provenance differences, and every record with its state."""
    body = {
        "schema": SCHEMA,
        "old": str(comparison.old),
        "new": str(comparison.new),
        "status": comparison.status,
        "counts": dict(_counted(comparison.changes)),
        "provenance": [asdict(difference) for difference in comparison.provenance],
        "records": [_record(change) for change in comparison.changes],
    }
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def told(comparison: Comparison) -> list[Change]:
    """The changes that a reader is told of: all but those that are the same or measured by neither run."""
    return [change for change in comparison.changes if change.state not in ("same", "not measured")]


def line(change: Change) -> str:
    """One record in one line: its state, both verdicts, both estimates, how far it moved, and remarks."""
    key, state, verdicts, estimates, moved, notes = cells(change)
    parts = [verdicts, *(part for part in (estimates, moved and f"change {moved}", notes) if part)]
    return f"{state}: {key}: {'; '.join(parts)}"


def cells(change: Change) -> tuple[str, str, str, str, str, str]:
    """Key, state, verdicts, estimates, movement and remarks as a reader sees them."""
    old, new = change.verdicts
    verdicts = old if old == new else f"{old} → {new}"
    return change.key, change.state, verdicts, _estimates(change), _moved(change), "; ".join(filter(None, change.notes))


def counts(comparison: Comparison) -> str:
    """How many records are in each state."""
    return ", ".join(f"{state}: {count}" for state, count in _counted(comparison.changes)) or "no records"


def verdict(comparison: Comparison) -> str:
    """The outcome in two words."""
    regressed = len(comparison.regressed)
    return f"✘ {regressed} regressed." if regressed else "✔ nothing regressed."


def escaped(text: str) -> str:
    """A cell of a Markdown table."""
    return text.replace("|", "\\|")


def _counted(changes: Sequence[Change]) -> list[tuple[str, int]]:
    found = Counter(change.state for change in changes)
    return [(state, found[state]) for state in STATES if found[state]]


def _estimates(change: Change) -> str:
    shown = [words.measured(record) if record else "–" for record in (change.old, change.new)]
    if shown[0] == shown[1]:
        return shown[0] if change.new and change.new.estimate is not None else ""
    return " → ".join(shown)


def _moved(change: Change) -> str:
    movement = change.movement
    if movement is None:
        return ""
    if movement.low == movement.high == movement.value == 0:
        return "none"
    ends = [_plus(end) for end in (movement.low, movement.high)]
    how = "paired" if movement.paired else "unpaired"
    beyond = "" if movement.beyond else ", within its interval"
    return f"{_plus(movement.value)} [{ends[0]}, {ends[1]}] {how}{beyond}"


def _plus(value: float) -> str:
    if finite(value) is None:
        return "∞" if value > 0 else "−∞"
    return f"+{words.number(value)}" if value > 0 else words.number(value)


def _record(change: Change) -> dict[str, Any]:
    movement = change.movement
    return {
        "key": change.key,
        "state": change.state,
        "regressed": change.regressed,
        "old": _side(change.old),
        "new": _side(change.new),
        "change": None
        if movement is None
        else {
            "value": finite(movement.value),
            "low": finite(movement.low),
            "high": finite(movement.high),
            "paired": movement.paired,
            "beyond": movement.beyond,
            "part": movement.label,
        },
        "notes": list(change.notes),
    }


def _side(record: Record | None) -> dict[str, Any] | None:
    names = ("verdict", "estimate", "low", "high", "unit", "n", "label", "reason")
    return None if record is None else {name: getattr(record, name) for name in names}
