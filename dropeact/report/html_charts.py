"""Measurements -> the page's charts: profiles over layers with 95 % bands, and layer x head maps of sink scores."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from dropeact.axes import SINK_THRESHOLD, TENSORS
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.drawing import BANDS, DEPTH, QUERIES, WRITTEN
from dropeact.report.html_lines import ticks
from dropeact.report.words import NAMES, number

SIZE = 1000  # the charts' own units, both ways
X_TITLES = {
    "layer": "layer",
    "depth": DEPTH,
    "position": "position in the text (first token of a bin)",
    "tokens": "tokens of recalibration",
}
CHARTED = {
    "massive-values": [f"chart-massive-{tensor}" for tensor in TENSORS],
    "sink-rate": ["chart-sink-rate"],
    "first-norm": ["chart-first_norm", "chart-other_norm_median"],
    "entropy": ["chart-entropy", "chart-entropy_without_first"],
    "loss": ["chart-nats"],
    "sink-heads": ["sink-scores"],
    "trajectory": ["trajectory"],
}  # figures of FINDINGS.md -> the elements of the page that stand in their place


class Series(NamedTuple):
    """One line of a chart: its style class, its name, the SVG paths of line and band, and its numbers as text."""

    style: str
    name: str
    path: str
    band: str
    values: list[str]


class Chart(NamedTuple):
    """A chart whose labels are HTML, so that they keep their size on a phone; positions in percent."""

    id: str
    experiment: str
    title: str
    caption: str
    over: str
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[float]
    steps: list[tuple[float, str]]
    series: list[Series]


class Heat(NamedTuple):
    """One model's sink scores: whole hundredths by layer and head, rounded down so that 29 is no 30; None where NaN."""

    style: str
    name: str
    hundredths: list[list[int | None]]


class Profile(NamedTuple):
    """A chart over layers, depths or positions: where it belongs, what it says, and what it reads of a model."""

    id: str
    experiment: str
    title: str
    y_title: str
    caption: str
    read: Callable[[Model], xr.DataArray]
    over: str = "layer"
    log: bool = False


PROFILES = (
    *(
        Profile(
            f"massive-{tensor}",
            "1",
            f"Massive {tensor.capitalize()} values",
            f"massive {tensor.capitalize()} values",
            f"{BANDS} {WRITTEN}",
            lambda model, tensor=tensor: model.counts(tensor),
        )
        for tensor in TENSORS
    ),
    Profile(
        "sink-rate",
        "4",
        "Attention sinks",
        f"share of sink heads (τ = {SINK_THRESHOLD})",
        f"Heads that give the first key at least {SINK_THRESHOLD} of their attention, {QUERIES}. {BANDS} {WRITTEN}",
        lambda model: model.sink_rate(),
    ),
    Profile(
        "first_norm",
        "4",
        "Norm of the first token",
        "norm (logarithmic)",
        f"Residual stream, raw. {BANDS}",
        lambda model: model.observations["first_norm"],
        "depth",
        True,
    ),
    Profile(
        "other_norm_median",
        "4",
        "Norm of the other tokens",
        "norm (logarithmic)",
        f"The median of all tokens but the first. {BANDS}",
        lambda model: model.observations["other_norm_median"],
        "depth",
        True,
    ),
    Profile(
        "entropy",
        "4",
        "Entropy of the representations",
        "entropy (nats)",
        f"All tokens of a text. {BANDS}",
        lambda model: model.observations["entropy"],
        "depth",
    ),
    Profile(
        "entropy_without_first",
        "4",
        "Entropy without the first token",
        "entropy (nats)",
        f"What the valley leaves when the first token is taken out. {BANDS}",
        lambda model: model.observations["entropy_without_first"],
        "depth",
    ),
    Profile(
        "nats",
        "upstream",
        "Loss by position",
        "loss (nats per token)",
        f"Bins of 128 target tokens. {BANDS}",
        lambda model: model.observations["nats"],
        "position_bin",
    ),
)


def charts(view: Measured) -> list[Chart]:
    """Every profile whose measurements are stored; where it is over layers, with the write layers marked."""
    try:
        writes = sorted(set(view.write_layers.values()))
        return [profile(spec, view.columns, writes if spec.over == "layer" else ()) for spec in PROFILES]
    except MissingMeasurement:
        return []


def profile(spec: Profile, models: Sequence[Model], marks: Sequence[int]) -> Chart:
    """Mean over texts of what is read of each model (text, over), with the pointwise 95 % interval."""
    values = [spec.read(model) for model in models]
    bands = [(m.name, NAMES[m.name], *mean_and_half_width(v)) for m, v in zip(models, values, strict=True)]
    drawn = [(style, name, center, np.nan_to_num(half)) for style, name, center, half in bands]
    over = spec.over.removesuffix("_bin")
    x = values[0][spec.over].values.astype(float)
    return chart(
        spec.id, spec.experiment, spec.title, spec.caption, over, spec.y_title, x, drawn, marks=marks, log=spec.log
    )


def chart(
    id: str,
    experiment: str,
    title: str,
    caption: str,
    over: str,
    y_title: str,
    x: np.ndarray,
    drawn: Sequence[tuple[str, str, np.ndarray, np.ndarray]],
    *,
    marks: Sequence[int] = (),
    log: bool = False,
) -> Chart:
    """Lay out lines (style, name, center, half width) over x."""
    scale = (lambda v: np.log10(np.maximum(v, 1e-12))) if log else (lambda v: np.asarray(v, float))
    least = min(float(np.nanmin(center - half)) for *_, center, half in drawn)
    if log:
        least = min(float(np.nanmin(center)) for *_, center, _ in drawn)
    most = max(float(np.nanmax(center + half)) for *_, center, half in drawn)
    low, high = float(scale(np.array(least))), float(scale(np.array(most)))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    start, end = float(x.min()), float(x.max()) if x.max() > x.min() else float(x.min()) + 1

    def across(value: float) -> float:
        return round(100 * (value - start) / (end - start), 2)

    def points(values: np.ndarray) -> list[str]:
        heights = SIZE * (1 - (np.clip(scale(values), low, high) - low) / (high - low))
        return [f"{SIZE / 100 * across(a):.1f} {b:.1f}" for a, b in zip(x, heights, strict=True) if np.isfinite(b)]

    made = []
    for style, name, center, half in drawn:
        outline = points(center + half) + points(np.asarray(center - half))[::-1]
        line, band = f"M{'L'.join(points(center))}", f"M{'L'.join(outline)}Z" if np.any(half > 0) else ""
        made.append(Series(style, name, line, band, [number(float(value)) for value in center]))
    rows = [float(v) for v in range(int(np.ceil(low)), int(high) + 1)] if log else ticks(low, high)
    return Chart(
        id=id,
        experiment=experiment,
        title=title,
        caption=caption,
        over=over,
        x_title=X_TITLES[over],
        y_title=y_title,
        x_ticks=[(across(value), plain(value)) for value in ticks(start, end)],
        y_ticks=[(round(100 * (v - low) / (high - low), 2), plain(10**v if log else v)) for v in rows],
        marks=[across(mark) for mark in marks],
        steps=[(across(value), plain(value)) for value in x],
        series=made,
    )


def plain(value: float) -> str:
    """A place on an axis in full: 1,000,000, and not 1e+06."""
    return f"{value:,.10g}"


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
