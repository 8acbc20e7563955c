"""Measurements -> the page's charts: profiles over layers with 95 % bands, and layer x head maps of sink scores."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from dropeact.axes import SINK_THRESHOLD, TENSORS
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.drawing import BANDS, QUERIES, WRITTEN
from dropeact.report.html_plot import Chart, Labels, Line, chart
from dropeact.report.words import NAMES

CHARTED = {
    "massive-values": [f"chart-massive-{tensor}" for tensor in TENSORS],
    "sink-rate": ["chart-sink-rate"],
    "first-norm": ["chart-first_norm", "chart-other_norm_median"],
    "entropy": ["chart-entropy", "chart-entropy_without_first"],
    "loss": ["chart-nats"],
    "sink-heads": ["sink-scores"],
    "trajectory": ["trajectory"],
}  # figures of FINDINGS.md -> the elements of the page that stand in their place


class Heat(NamedTuple):
    """One model's sink scores: whole hundredths by layer and head, rounded down so that 29 is no 30; None where NaN."""

    style: str
    name: str
    hundredths: list[list[int | None]]


class Profile(NamedTuple):
    """A chart over layers, depths or positions, and what it reads of a model: (text, dim)."""

    labels: Labels
    read: Callable[[Model], xr.DataArray]


def observed(name: str) -> Callable[[Model], xr.DataArray]:
    """The variable of that name as it is stored."""
    return lambda model: model.observations[name]


def counted(tensor: str) -> Profile:
    """Massive values of one tensor by layer."""
    values = f"{tensor.capitalize()} values"
    labels = Labels(f"massive-{tensor}", "1", f"Massive {values}", f"{BANDS} {WRITTEN}", f"massive {values}")
    return Profile(labels, lambda model: model.counts(tensor))


SINKS = f"Heads that give the first key at least {SINK_THRESHOLD} of their attention, {QUERIES}. {BANDS} {WRITTEN}"
OTHERS = f"The median of all tokens but the first. {BANDS}"
WITHOUT = f"What the valley leaves when the first token is taken out. {BANDS}"
NORM, NATS = "norm (logarithmic)", "entropy (nats)"
PROFILES = (
    *(counted(tensor) for tensor in TENSORS),
    Profile(
        Labels("sink-rate", "4", "Attention sinks", SINKS, f"share of sink heads (τ = {SINK_THRESHOLD})"),
        lambda model: model.sink_rate(),
    ),
    Profile(
        Labels("first_norm", "4", "Norm of the first token", f"Residual stream, raw. {BANDS}", NORM, "depth", True),
        observed("first_norm"),
    ),
    Profile(
        Labels("other_norm_median", "4", "Norm of the other tokens", OTHERS, NORM, "depth", True),
        observed("other_norm_median"),
    ),
    Profile(
        Labels("entropy", "4", "Entropy of the representations", f"All tokens of a text. {BANDS}", NATS, "depth"),
        observed("entropy"),
    ),
    Profile(
        Labels("entropy_without_first", "4", "Entropy without the first token", WITHOUT, NATS, "depth"),
        observed("entropy_without_first"),
    ),
    Profile(
        Labels(
            "nats",
            "upstream",
            "Loss by position",
            f"Bins of 128 target tokens. {BANDS}",
            "loss (nats per token)",
            "position",
        ),
        observed("nats"),
    ),
)
DIMS = {"position": "position_bin"}


def charts(view: Measured) -> list[Chart]:
    """Every profile whose measurements are stored; where it is over layers, with the write layers marked."""
    try:
        writes = sorted(set(view.write_layers.values()))
        return [profile(one, view.columns, writes if one.labels.over == "layer" else ()) for one in PROFILES]
    except MissingMeasurement:
        return []


def profile(shown: Profile, models: Sequence[Model], marks: Sequence[int]) -> Chart:
    """Mean over texts of what is read of each model, with the pointwise 95 % interval."""
    values = {model.name: shown.read(model) for model in models}
    over = DIMS.get(shown.labels.over, shown.labels.over)
    x = next(iter(values.values()))[over].values.astype(float)
    return chart(shown.labels, x, [line(name, of_texts) for name, of_texts in values.items()], marks=marks)


def line(name: str, values: xr.DataArray) -> Line:
    """One model's mean over texts with its half-width, none where there is no spread."""
    center, half = mean_and_half_width(values)
    return name, NAMES[name], center, np.nan_to_num(half)


def heat_maps(view: Measured) -> list[Heat]:
    """Mean over texts of the attention to key 0, by layer and head, for the three columns."""
    made = []
    for model in view.columns:
        try:
            means = model.sink_scores().mean("text").transpose("layer", "head").values
        except MissingMeasurement:
            continue
        cells = [[None if np.isnan(v) else int(100 * float(v)) for v in row] for row in means]
        made.append(Heat(model.name, NAMES[model.name], cells))
    return made
