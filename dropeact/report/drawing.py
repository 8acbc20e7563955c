"""How a figure of the report is drawn: its colours, bands and marks, and an SVG whose bytes repeat on one machine."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage

from dropeact.axes import SINK_LENGTH
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.files import write_bytes
from dropeact.measured import Measured, Model
from dropeact.report.words import NAMES

COLOURS = {
    "rope": "#0072B2",
    "dropped": "#999999",
    "drope": "#D55E00",
}  # Okabe and Ito: distinct to colour-blind readers
ACROSS = 3  # panels side by side that a page shows at their own size
QUERIES = f"queries 1 to {SINK_LENGTH - 1}"
BANDS = "Mean over texts with 95 % intervals."
WRITTEN = "The dotted line marks the layer that writes the first token's norm."
DEPTH = "depth (0 = embeddings, l + 1 = after block l)"
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
                rows = ceil(self.panels / ACROSS)
                columns = ceil(self.panels / rows)
                canvas = Canvas(figsize=(3.4 * columns if columns > 1 else 6.0, 2.8 * rows))
                self.paint(list(np.ravel(canvas.subplots(rows, columns))), measured)
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


def mosaic(axes: Axes, cells: np.ndarray, **scale: Any) -> AxesImage:
    """A colour per cell, rows downwards, cell (i, j) around that point; an SVG keeps one pixel a cell."""
    rows, columns = cells.shape
    around = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    return axes.imshow(cells, cmap="viridis", interpolation="none", aspect="auto", extent=around, **scale)


def mark_write(axes: Axes, measured: Measured) -> None:
    """A hairline at the layer that writes the first token's norm."""
    for layer in sorted(set(measured.write_layers.values())):
        axes.axvline(layer, color="black", lw=0.5, linestyle=":")
