"""Stored losses -> what zeroing the massive channels costs beside its controls, and how many channels each takes."""

from typing import NamedTuple

from dropeact.axes import MASSIVE_THRESHOLD
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.words import NAMES

ROWS = {
    "massive": "massive: the largest",
    "next-largest": "the next largest",
    "random": "random others (mean of the draws)",
    "smallest": "the smallest",
    "norm-matched": "random others with as much squared norm",
}


class Cost(NamedTuple):
    """Mean loss increase of one model in nats per token with its half-width, and how many channels were zeroed."""

    model: str
    increase: float
    half_width: float
    channels: float


def controls(measured: Measured) -> dict[str, list[Cost]]:
    """The costs of each model by what was zeroed; what was not measured is left out."""
    models = measured.columns
    rows = {title: [c for model in models if (c := cost(model, name)) is not None] for name, title in ROWS.items()}
    return {title: costs for title, costs in rows.items() if len(costs) == len(models)}


def doses(measured: Measured) -> dict[float, float]:
    """How many channels are zeroed at each lambda, mean of both halves of the texts; empty where not measured."""
    try:
        dose = measured.rope.disruption_by_threshold["dose"].sum(["layer", "tensor"]).mean("selected_on")
        at_published = measured.rope.disruption["dose"].sum(["layer", "tensor"]).mean()
    except (MissingMeasurement, KeyError):
        return {}
    known = {float(value): float(dose.sel(threshold=value)) for value in dose["threshold"].values}
    return dict(sorted((known | {MASSIVE_THRESHOLD: float(at_published)}).items()))


def cost(model: Model, condition: str) -> Cost | None:
    """One condition of one model; None where it was not measured."""
    try:
        increase = model.nats(condition) - model.nats("baseline")
        dose = model.disruption["norm_matched_count" if condition == "norm-matched" else "dose"]
    except (MissingMeasurement, KeyError):
        return None
    value, half_width = mean_and_half_width(increase)
    return Cost(NAMES[model.name], float(value), float(half_width), float(dose.sum(["layer", "tensor"]).mean()))
