"""Lines with bands -> where everything of a chart lies, in percent, so that its labels can be HTML."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dropeact.report.drawing import DEPTH
from dropeact.report.html_lines import ticks
from dropeact.report.words import number

SIZE = 1000  # the charts' own units, both ways
X_TITLES = {
    "layer": "layer",
    "depth": DEPTH,
    "position": "position in the text (first token of a bin)",
    "tokens": "tokens of recalibration",
}

Line = tuple[str, str, np.ndarray, np.ndarray]  # style, name, centre, half width


class Labels(NamedTuple):
    """What a chart says: where it belongs, its title and caption, its axes."""

    id: str
    experiment: str
    title: str
    caption: str
    y_title: str
    over: str = "layer"
    log: bool = False

    @property
    def x_title(self) -> str:
        """The title of the horizontal axis."""
        return X_TITLES[self.over]


class Series(NamedTuple):
    """One line of a chart: its style class, its name, the SVG paths of line and band, and its numbers as text."""

    style: str
    name: str
    path: str
    band: str
    values: list[str]


class Chart(NamedTuple):
    """A chart whose labels are HTML, so that they keep their size on a phone; positions in percent."""

    labels: Labels
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[float]
    steps: list[tuple[float, str]]
    series: list[Series]


class Frame(NamedTuple):
    """The stretch of both axes that a chart shows; heights are logarithms where its axis is logarithmic."""

    start: float
    end: float
    low: float
    high: float
    log: bool

    def across(self, value: float) -> float:
        """How far right a value lies, in percent."""
        return round(100 * (value - self.start) / (self.end - self.start), 2)

    def up(self, values: np.ndarray) -> np.ndarray:
        """How high values lie, in percent."""
        return 100 * (np.clip(scaled(values, self.log), self.low, self.high) - self.low) / (self.high - self.low)

    def points(self, x: np.ndarray, values: np.ndarray) -> list[str]:
        """The points of a path in the chart's own units; what is not finite has none."""
        places = zip(x, SIZE * (1 - self.up(values) / 100), strict=True)
        return [f"{SIZE / 100 * self.across(a):.1f} {b:.1f}" for a, b in places if np.isfinite(b)]

    def rows(self) -> list[tuple[float, str]]:
        """The ticks of the vertical axis: round numbers, or powers of ten."""
        powers = range(int(np.ceil(self.low)), int(self.high) + 1)
        values = [10.0**power for power in powers] if self.log else ticks(self.low, self.high)
        return [(round(float(at), 2), plain(v)) for at, v in zip(self.up(np.array(values)), values, strict=True)]


def chart(labels: Labels, x: np.ndarray, drawn: Sequence[Line], *, marks: Sequence[int] = ()) -> Chart:
    """Lay out lines with their bands over x."""
    frame = around(x, drawn, labels.log)
    return Chart(
        labels,
        x_ticks=[(frame.across(value), plain(value)) for value in ticks(frame.start, frame.end)],
        y_ticks=frame.rows(),
        marks=[frame.across(mark) for mark in marks],
        steps=[(frame.across(value), plain(value)) for value in x.tolist()],
        series=[series(frame, x, line) for line in drawn],
    )


def around(x: np.ndarray, drawn: Sequence[Line], log: bool) -> Frame:
    """The frame of all lines, with some room above and below; a logarithmic one leaves out where bands reach down."""
    least = min(float(np.nanmin(center if log else center - half)) for *_, center, half in drawn)
    most = max(float(np.nanmax(center + half)) for *_, center, half in drawn)
    low, high = (float(end) for end in scaled(np.array([least, most]), log))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    room = 0.04 * (high - low)
    start, end = float(x.min()), float(x.max())
    return Frame(start, end if end > start else start + 1, low - room, high + room, log)


def series(frame: Frame, x: np.ndarray, line: Line) -> Series:
    """The paths of one line and its band."""
    style, name, center, half = line
    outline = frame.points(x, center + half) + frame.points(x, center - half)[::-1]
    band = f"M{'L'.join(outline)}Z" if np.any(half > 0) else ""
    return Series(style, name, f"M{'L'.join(frame.points(x, center))}", band, [number(float(v)) for v in center])


def scaled(values: np.ndarray, log: bool) -> np.ndarray:
    """Values as heights on their axis."""
    return np.log10(np.maximum(values, 1e-12)) if log else np.asarray(values, float)


def plain(value: float) -> str:
    """A place on an axis in full: 1,000,000, and not 1e+06."""
    return f"{value:,.10g}"
