"""Findings of an audit -> one figure: printed against recomputed, log-log, the disagreements named beside them."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dropeact.audit import Finding
from dropeact.files import write_bytes

COLOURS = {"reproduced": "#999999", "not reproduced": "#D55E00", "contradicted": "#0072B2"}  # Okabe and Ito
MARKERS = {"reproduced": "o", "not reproduced": "D", "contradicted": "s"}
NAMED_FACTOR = 1.3
ZERO = 1e-3  # where 0 is drawn, on a strip beyond the smallest figure
LOW, HIGH = 4e-3, 1.5e6
GAP = 0.29  # decades between two names
STYLE: Any = {"svg.hashsalt": "dropeact", "svg.fonttype": "none", "font.size": 9}


class Point(NamedTuple):
    """One finding on the plane: absolute values, 0 at `ZERO`."""

    finding: Finding
    printed: float
    found: float

    @property
    def is_named(self) -> bool:
        """Whether the disagreement is large enough for a name of its own."""
        factor = max(self.printed, self.found) / min(self.printed, self.found)
        return self.finding.differs and factor >= NAMED_FACTOR


def audit_figure(findings: Sequence[Finding], path: Path) -> None:
    """Draw printed (x) against recomputed or contradicting (y) figures, each in its own unit, as SVG or PNG.

    Layer numbers, p-values and conditions have no place on the plane and are left out, as is what lies beyond
    `LOW`..`HIGH`; disagreements by `NAMED_FACTOR` or more are named. The same findings give the same bytes.
    """
    kind, drawn = path.suffix.removeprefix("."), io.BytesIO()
    with mpl.rc_context(STYLE):
        drawing(findings).savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None, dpi=100)
    write_bytes(path, drawn.getbuffer())


def drawing(findings: Sequence[Finding]) -> Figure:
    """Lay the figure out, for `audit_figure` to save."""
    points = [point for finding in findings if (point := _point(finding)) is not None]
    named = [point for point in points if point.is_named]
    canvas = Figure(figsize=(12, 10.5))
    axes = canvas.add_axes((0.09, 0.06, 0.87, 0.905))
    _frame(axes)
    _scatter(axes, points)
    above = [point for point in named if point.found > point.printed]
    below = [point for point in named if point.found < point.printed]
    _name(axes, above, column=0.62, align="right", within=(2.5, HIGH / 2))
    _name(axes, below, column=330.0, align="left", within=(ZERO, 150.0))
    return canvas


def _point(finding: Finding) -> Point | None:
    if not finding.comparable or finding.verdict not in COLOURS or finding.against is None:
        return None
    figures = abs(finding.check.printed.value), abs(finding.against)
    if any(figure and not LOW <= figure <= HIGH for figure in figures):
        return None
    return Point(finding, figures[0] or ZERO, figures[1] or ZERO)


def _frame(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log", xlim=(ZERO / 2, HIGH), ylim=(ZERO / 2, HIGH))
    axes.set_title("Printed figures against their own raw figures", loc="left", fontweight="bold")
    axes.set(xlabel="printed (each in its own unit)", ylabel="recomputed, or the figure that contradicts it")
    ticks = [ZERO, *(10.0**power for power in range(-2, 7))]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, labels=["0", "0.01", "0.1", *(f"{tick:,.0f}" for tick in ticks[3:])])
        axis.set_ticks([], minor=True)
    axes.plot([LOW, HIGH], [LOW, HIGH], color="black", linewidth=0.8, zorder=1)
    axes.axhspan(ZERO / 2, LOW / 2, color="#eeeeee", zorder=0)
    axes.axvspan(ZERO / 2, LOW / 2, color="#eeeeee", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _scatter(axes: Axes, points: Sequence[Point]) -> None:
    for verdict, colour in COLOURS.items():
        chosen = [point for point in points if point.finding.verdict == verdict]
        axes.scatter(
            [point.printed for point in chosen],
            [point.found for point in chosen],
            s=16 if verdict == "reproduced" else 32,
            marker=MARKERS[verdict],
            c=colour,
            linewidths=0,
            alpha=0.85,
            label=f"{verdict} ({len(chosen)})",
            zorder=3,
        )
    axes.legend(loc="lower center", bbox_to_anchor=(0.28, 0.07), frameon=False)


def _name(axes: Axes, points: Sequence[Point], *, column: float, align: str, within: tuple[float, float]) -> None:
    """Write the names in one column, each as near the height of its point as the others allow, and lead lines there."""
    ordered = sorted(points, key=lambda point: (point.found, point.printed))
    low, high = map(math.log10, within)
    heights = spread([math.log10(point.found) for point in ordered], gap=GAP, low=low, high=high)
    for point, height in zip(ordered, heights, strict=True):
        finding = point.finding
        axes.annotate(
            f"{finding.check.what}\n{finding.printed_text} → {finding.found_text}",
            xy=(point.printed, point.found),
            xytext=(column, 10**height),
            ha=align,
            va="center",
            fontsize=8,
            linespacing=0.95,
            color=COLOURS[finding.verdict],
            arrowprops={
                "arrowstyle": "-",
                "color": "#aaaaaa",
                "linewidth": 0.5,
                "relpos": (float(align == "right" and point.printed > ZERO), 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move ascending heights apart to at least `gap`, inside low..high, by the least squares of the moves.

    Pools adjacent violators among the heights less i gap, then adds i gap again.
    """
    blocks: list[list[float]] = []
    for index, height in enumerate(wanted):
        blocks.append([height - index * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) >= _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    levels = [_mean(block) for block in blocks for _ in block]
    top = high - gap * (len(wanted) - 1)
    return [max(low, min(top, level)) + index * gap for index, level in enumerate(levels)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
