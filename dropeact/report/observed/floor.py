"""Stored noise floor -> how far each variable moved when the same cell was measured again, comparison by comparison."""

from collections.abc import Mapping
from typing import NamedTuple

import xarray as xr

from dropeact.measured import Measured, MissingMeasurement
from dropeact.report.words import number
from dropeact.verdicts.records import finite

PREFIX = "absolute_"
TITLE = "Noise floor: how far stored variables moved when the same texts were measured again"
COMPARISONS = {
    "repeat": "the same pass again",
    "threads": "one or two threads",
    "batch": "one by one or together",
    "products": "oneDNN's products or not",
    "precision": "bfloat16",
}

Changes = Mapping[str, Mapping[str, float]]


class Noise(NamedTuple):
    """Largest absolute change by variable and comparison, without what never moved, and the rest in words."""

    comparisons: list[str]
    rows: list[tuple[str, list[str]]]
    caption: str
    title: str = TITLE


def floors(measured: Measured) -> dict[str, float | None]:
    """The noise floor that verdicts are held against, by variable; None where it is not finite."""
    found = {name: finite(value) for name, value in sorted(measured.noise.items()) if name.startswith(PREFIX)}
    return {name.removeprefix(PREFIX): value for name, value in found.items()}


def noise(measured: Measured) -> Noise | None:
    """Every comparison of every variable; None where no noise floor was measured."""
    changes = stored(measured)
    kinds = list(dict.fromkeys(kind for values in changes.values() for kind in values))
    if not kinds:
        return None
    moving = [kind for kind in kinds if any(values.get(kind) for values in changes.values())]
    moved = {name: values for name, values in sorted(changes.items()) if any(values.values())}
    rows = [(name, [shown(values.get(kind)) for kind in moving]) for name, values in moved.items()]
    still = [COMPARISONS.get(kind, kind) for kind in kinds if kind not in moving]
    unmoved = sorted(set(changes) - set(moved))
    return Noise([COMPARISONS.get(kind, kind) for kind in moving], rows, caption(measured, kinds, still, unmoved))


def stored(measured: Measured) -> Changes:
    """Largest absolute changes: variable -> comparison -> change."""
    changes: dict[str, Mapping[str, float]] = {}
    for measurement in ("noise-phenomena", "noise-floor"):
        try:
            changes |= absolute(measured.rope.measurement(measurement, corpus="passages"))
        except MissingMeasurement:
            continue
    return changes


def absolute(floor: xr.Dataset) -> Changes:
    """The absolute changes of one stored noise floor."""
    kinds = floor["comparison"].values.tolist()
    return {
        str(name).removeprefix(PREFIX): dict(zip(kinds, values.values.tolist(), strict=True))
        for name, values in floor.data_vars.items()
        if str(name).startswith(PREFIX)
    }


def caption(measured: Measured, kinds: list[str], still: list[str], unmoved: list[str]) -> str:
    """What the numbers are, which of them decide, and what did not move."""
    said = ["Largest absolute change of any number of a variable, RoPE model, under the names of the store."]
    said += [decides(measured)] if "precision" in kinds else []
    said += ["No effect that such a change could make by itself is called supported. Answers have no floor."]
    said += [f"Nothing at all changed in: {', '.join(still)}."] if still else []
    said += [f"In no comparison changed: {', '.join(unmoved)}."] if unmoved else []
    return " ".join(said)


def decides(measured: Measured) -> str:
    """Whether what another precision changes counts, which depends on that of the run."""
    dtype = measured.store.read_run()["dtype"]
    counts = "does not count, for the run is" if dtype == "float32" else "counts too, for the run is not"
    return f"The floor is the largest of a row; what bfloat16 changes {counts} in float32."


def shown(change: float | None) -> str:
    """A change to three digits, and a plain 0 where there is none."""
    return "0" if change == 0 else number(change)
