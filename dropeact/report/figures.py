"""Figures of the report, three columns each (RoPE, just dropped, DroPE), as SVG whose bytes repeat on one machine."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage

from dropeact.axes import SINK_THRESHOLD, TENSORS
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.files import write_bytes
from dropeact.measured import Measured, Model
from dropeact.report.words import NAMES

COLOURS = {
    "rope": "#0072B2",
    "dropped": "#999999",
    "drope": "#D55E00",
}  # Okabe and Ito: distinct to colour-blind readers
DASHES: dict[str, Any] = {"rope": "-", "dropped": (0, (1, 1)), "drope": "--"}
STYLE: Any = {
    "svg.hashsalt": "dropeact",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}


class Figure(NamedTuple):
    """A drawn figure, its caption and the experiment it belongs to."""

    path: Path
    title: str
    caption: str
    experiment: str


def draw_stored(
    drawings: Mapping[str, "Sequence[Drawing]"], measured: Measured, folder: Path, *, replace: bool = True
) -> list[Figure]:
    """Every figure whose measurement (the key of `drawings`) is stored, painted where it is missing or replaced."""
    return [
        drawing.drawn(measured, folder, replace=replace)
        for name, group in drawings.items()
        if measured.having(name)
        for drawing in group
    ]


def draw(measured: Measured, folder: Path, *, replace: bool = True) -> list[Figure]:
    """Every figure of the core set, painted where it is missing or to be replaced."""
    return [drawing.drawn(measured, folder, replace=replace) for drawing in DRAWINGS]


@dataclass(frozen=True)
class Drawing:
    """One figure of the report: where it belongs, what it says, and how its panels are painted."""

    name: str
    experiment: str
    title: str
    caption: str
    paint: Callable[[Sequence[Axes], Measured], None]
    panels: int = 1

    def drawn(self, measured: Measured, folder: Path, *, replace: bool) -> Figure:
        """Paint the figure into `folder` and return what the report links to."""
        path = folder / f"{self.name}.svg"
        if replace or not path.is_file():
            with mpl.rc_context(STYLE):
                canvas = Canvas(figsize=(3.4 * self.panels if self.panels > 1 else 6.0, 2.8))
                self.paint(list(np.atleast_1d(canvas.subplots(1, self.panels))), measured)
                save(canvas, path)
        return Figure(path, self.title, self.caption, self.experiment)


def save(canvas: Canvas, path: Path) -> None:
    """Write an SVG without date or software metadata, so that the same data give the same bytes."""
    FigureCanvasSVG(canvas)
    if (layout := canvas.get_layout_engine()) is not None:  # savefig would draw everything once more to lay it out
        layout.execute(canvas)
        canvas.set_layout_engine("none")
    drawn = io.BytesIO()
    canvas.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    write_bytes(path, drawn.getbuffer())


def band(axes: Axes, x: np.ndarray, values: xr.DataArray, model: Model) -> None:
    """Mean over texts with the pointwise 95 % interval."""
    center, half = mean_and_half_width(values)
    axes.plot(x, center, color=COLOURS[model.name], linestyle=DASHES[model.name], label=NAMES[model.name])
    axes.fill_between(x, center - half, center + half, color=COLOURS[model.name], alpha=0.2, linewidth=0)


def paint_counts(panels: Sequence[Axes], measured: Measured) -> None:
    """Massive values per layer, for Query, Key and Value."""
    for axes, tensor in zip(panels, TENSORS, strict=True):
        for model in measured.columns:
            counts = model.counts(tensor)
            band(axes, counts["layer"].values, counts, model)
        axes.set(title=tensor.capitalize(), xlabel="layer", ylabel="massive values" if tensor == "query" else "")
        axes.set_ylim(bottom=0)
        mark_write(axes, measured)
    panels[0].legend(frameon=False)


def paint_disruption(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss increase by condition."""
    axes = panels[0]
    names = ["massive", "random", "norm-matched"]
    for offset, model in enumerate(measured.columns):
        increases = [model.nats(name) - model.nats("baseline") for name in names]
        drawn = [mean_and_half_width(increase) for increase in increases]
        x = np.arange(len(names)) + 0.26 * (offset - 1)
        axes.bar(
            x,
            [float(c) for c, _ in drawn],
            0.24,
            yerr=[float(h) for _, h in drawn],
            color=COLOURS[model.name],
            label=NAMES[model.name],
            error_kw={"lw": 1},
        )
    axes.set_xticks(range(len(names)), ["massive", "random, as many", "random, norm-matched"])
    axes.set(ylabel="loss increase (nats per token)")
    axes.axhline(0, color="black", lw=0.6)
    axes.legend(frameon=False)


def paint_sinks(panels: Sequence[Axes], measured: Measured) -> None:
    """Share of sink heads per layer."""
    for model in measured.columns:
        rates = model.sink_rate()
        band(panels[0], rates["layer"].values, rates, model)
    panels[0].set(xlabel="layer", ylabel=f"share of sink heads (tau = {SINK_THRESHOLD})", ylim=(-0.02, 1.02))
    mark_write(panels[0], measured)
    panels[0].legend(frameon=False)


def paint_first_norm(panels: Sequence[Axes], measured: Measured) -> None:
    """Norm of the first token's residual stream by depth, and of an ordinary token."""
    for model in measured.columns:
        band(panels[0], model.first_norm["depth"].values, model.first_norm, model)
        other = model.observations["other_norm_median"].mean("text")
        panels[0].plot(other["depth"], other, color=COLOURS[model.name], lw=0.7, linestyle=DASHES[model.name])
    panels[0].set(yscale="log", xlabel="depth (0 = embeddings, l + 1 = after block l)", ylabel="norm")
    panels[0].legend(frameon=False)


def paint_entropy(panels: Sequence[Axes], measured: Measured) -> None:
    """Representation entropy by depth, with and without the first token."""
    for axes, variable, title in zip(
        panels, ("entropy", "entropy_without_first"), ("all tokens", "without the first token"), strict=True
    ):
        for model in measured.columns:
            values = model.observations[variable]
            band(axes, values["depth"].values, values, model)
        axes.set(title=title, xlabel="depth", ylabel="entropy (nats)" if variable == "entropy" else "")
    panels[0].legend(frameon=False)


def paint_loss(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss by position in the text."""
    for model in measured.columns:
        losses = model.observations["nats"]
        band(panels[0], losses["position_bin"].values + 64, losses, model)
    panels[0].set(xlabel="position in the text", ylabel="loss (nats per token)")
    panels[0].legend(frameon=False)


def mosaic(axes: Axes, cells: np.ndarray, **scale: Any) -> AxesImage:
    """A colour per cell, rows downwards, cell (i, j) at j..j+1, i..i+1; an SVG keeps one pixel a cell."""
    rows, columns = cells.shape
    return axes.imshow(
        cells, cmap="viridis", interpolation="none", aspect="auto", extent=(0, columns, rows, 0), **scale
    )


def mark_write(axes: Axes, measured: Measured) -> None:
    """A hairline at the layer that writes the first token's norm."""
    for layer in sorted(set(measured.write_layers.values())):
        axes.axvline(layer, color="black", lw=0.5, linestyle=":")


DRAWINGS = (
    Drawing(
        "massive-values",
        "1",
        "Massive values by layer",
        "Mean over texts with 95 % intervals; the dotted line is the layer that writes the first token's norm.",
        paint_counts,
        3,
    ),
    Drawing(
        "disruption",
        "2",
        "Loss with massive values zeroed, and with as many random ones",
        "Equal dose in all three models; dimensions chosen on the other half of the texts.",
        paint_disruption,
    ),
    Drawing(
        "sink-rate",
        "4",
        "Share of attention sinks by layer",
        "Heads that give the first key at least 0.3 of their attention, queries 1 to 63.",
        paint_sinks,
    ),
    Drawing(
        "first-norm",
        "4",
        "Norm of the first token through the layers",
        "Thin lines: the median of all other tokens.",
        paint_first_norm,
    ),
    Drawing(
        "entropy",
        "4",
        "Entropy of the representations",
        "Without the first token the valley shows what the other tokens do.",
        paint_entropy,
        2,
    ),
    Drawing("loss", "upstream", "Loss by position", "Mean over the passages in bins of 128 target tokens.", paint_loss),
)
