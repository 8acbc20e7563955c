"""Measurements -> the page's charts: profiles over layers with 95 % bands, and layer x head maps of sink scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from dropeact.axes import TENSORS
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.html_lines import ticks
from dropeact.report.words import NAMES, number

SIZE = 1000  # the charts' own units, both ways


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
    unit: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[float]
    steps: list[tuple[float, str]]
    series: list[Series]


class Heat(NamedTuple):
    """One model's sink scores: hundredths by layer and head, None where NaN."""

    style: str
    name: str
    hundredths: list[list[int | None]]


def charts(view: Measured) -> list[Chart]:
    """Every profile whose measurements are stored."""
    try:
        models = view.columns
        observed = [model.observations for model in models]
        writes = sorted(set(view.write_layers.values()))
    except MissingMeasurement:
        return []
    written = "The dotted line marks the layer that writes the first token's norm."
    made = [
        profile(
            f"massive-{tensor}",
            "1",
            f"Massive {tensor.capitalize()} values",
            written,
            "layer",
            "massive values",
            [(model, model.counts(tensor)) for model in models],
            marks=writes,
        )
        for tensor in TENSORS
    ]
    rates = [(model, model.sink_rate()) for model in models]
    made.append(
        profile(
            "sink-rate",
            "4",
            "Attention sinks",
            "Share of heads that give the first key at least 0.3 of their attention, queries 1 to 63.",
            "layer",
            "share of heads",
            rates,
            marks=writes,
        )
    )
    for variable, experiment, title, over, unit, caption, log in MORE:
        values = [(model, data[variable]) for model, data in zip(models, observed, strict=True)]
        made.append(profile(variable, experiment, title, caption, over, unit, values, log=log))
    return made


MORE = (
    ("first_norm", "4", "Norm of the first token", "depth", "norm, logarithmic", "Residual stream, raw.", True),
    ("entropy", "4", "Entropy of the representations", "depth", "nats", "All tokens of a text.", False),
    (
        "entropy_without_first",
        "4",
        "Entropy without the first token",
        "depth",
        "nats",
        "What the valley leaves when the first token is taken out.",
        False,
    ),
    ("nats", "upstream", "Loss by position", "position_bin", "nats per token", "Bins of 128 target tokens.", False),
)


def profile(
    id: str,
    experiment: str,
    title: str,
    caption: str,
    over: str,
    unit: str,
    values: Sequence[tuple[Model, xr.DataArray]],
    *,
    marks: Sequence[int] = (),
    log: bool = False,
) -> Chart:
    """Mean over texts of each model's `values` (text, `over`), with the pointwise 95 % interval."""
    x = values[0][1][over].values.astype(float)
    bands = [(model.name, NAMES[model.name], *mean_and_half_width(v)) for model, v in values]
    drawn = [(style, name, center, np.nan_to_num(half)) for style, name, center, half in bands]
    return chart(id, experiment, title, caption, over.replace("_bin", ""), unit, x, drawn, marks=marks, log=log)


def chart(
    id: str,
    experiment: str,
    title: str,
    caption: str,
    over: str,
    unit: str,
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
        unit=unit,
        x_ticks=[(across(value), f"{value:,g}") for value in ticks(start, end)],
        y_ticks=[(round(100 * (v - low) / (high - low), 2), f"{10**v:,g}" if log else f"{v:,g}") for v in rows],
        marks=[across(mark) for mark in marks],
        steps=[(across(value), f"{value:,g}") for value in x],
        series=made,
    )


def heat_maps(view: Measured) -> list[Heat]:
    """Mean over texts of the attention to key 0, by layer and head, for the three columns."""
    made = []
    for model in view.columns:
        try:
            means = model.sink_scores().mean("text").transpose("layer", "head").values
        except MissingMeasurement:
            continue
        cells = [[None if np.isnan(v) else round(100 * float(v)) for v in row] for row in means]
        made.append(Heat(model.name, NAMES[model.name], cells))
    return made
