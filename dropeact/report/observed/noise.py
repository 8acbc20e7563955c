"""Stored noise floor -> how far each variable moved when the same cell was measured again, comparison by comparison."""

from collections.abc import Mapping
from typing import NamedTuple

import xarray as xr

from dropeact.measured import Measured, MissingMeasurement
from dropeact.report.words import number
from dropeact.verdicts.records import finite

PREFIX = "absolute_"
COMPARISONS = {
    "repeat": "the same pass again",
    "threads": "1 or 2 threads",
    "batch": "alone or in a batch",
    "precision": "bfloat16",
}


class Noise(NamedTuple):
    """Largest absolute change by variable and comparison, and in words which comparisons decide."""

    comparisons: list[str]
    rows: list[tuple[str, list[str]]]
    unmoved: list[str]
    decides: str


def floors(measured: Measured) -> dict[str, float | None]:
    """The noise floor that verdicts are held against, by variable; None where it is not finite."""
    return {
        name.removeprefix(PREFIX): finite(value) for name, value in measured.noise.items() if name.startswith(PREFIX)
    }


def noise(measured: Measured) -> Noise | None:
    """Every comparison of every variable; None where no noise floor was measured."""
    changes: dict[str, Mapping[str, float]] = {}
    for measurement in ("noise-phenomena", "noise-floor"):
        try:
            changes |= absolute(measured.rope.measurement(measurement, corpus="passages"))
        except MissingMeasurement:
            continue
    if not changes:
        return None
    kinds = list(dict.fromkeys(kind for values in changes.values() for kind in values))
    moved = {name: values for name, values in sorted(changes.items()) if any(values.values())}
    return Noise(
        [COMPARISONS.get(kind, kind) for kind in kinds],
        [(name, [number(values.get(kind)) for kind in kinds]) for name, values in moved.items()],
        sorted(set(changes) - set(moved)),
        decides(measured),
    )


def absolute(floor: xr.Dataset) -> dict[str, Mapping[str, float]]:
    """Largest absolute changes of a stored noise floor: variable -> comparison -> change."""
    kinds = floor["comparison"].values.tolist()
    return {
        str(name).removeprefix(PREFIX): dict(zip(kinds, values.values.tolist(), strict=True))
        for name, values in floor.data_vars.items()
        if str(name).startswith(PREFIX)
    }


def decides(measured: Measured) -> str:
    """Which comparisons are the floor, by the precision of the run."""
    dtype = measured.store.read_run()["dtype"]
    if dtype == "float32":
        return "what bfloat16 would change is shown and decides nothing, for this run is in float32"
    return f"what another precision changes counts as well, for this run is in {dtype}"
