"""Records -> one figure that shows them all: how far each lies inside or outside its declared region."""

from collections.abc import Sequence
from math import ceil, isfinite, log10
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dropeact.report import words
from dropeact.report.distance import Distance, distance
from dropeact.report.drawing import STYLE, Figure, save
from dropeact.verdicts.records import Record

LINEAR = 1.0  # standard deviations; beyond them the axis is logarithmic
ROW = 0.17  # inches
HEAD = 1.1  # inches for title, axis and legend
LOOKS: dict[str, dict[str, Any]] = {
    "supported": {"marker": "o", "color": "#009E73", "markerfacecolor": "#009E73"},
    "contradicted": {"marker": "X", "color": "#882255", "markerfacecolor": "#882255"},
    "inconclusive": {"marker": "o", "color": "#B26F00", "markerfacecolor": "white"},
}  # told apart by shape and by lightness as well as by hue
TITLE = "Every record against its declared region"
CAPTION = (
    "Distance of the estimate from the nearest bound of the region declared for the claim, in standard deviations over "
    "texts, with its 95 % interval; right of the line the claim holds. Linear to 1, logarithmic beyond."
)


class Row(NamedTuple):
    """One line of the figure: a heading (no record), or a record and where it lies."""

    label: str
    record: Record | None = None
    at: Distance | None = None


def overview_figure(records: Sequence[Record], folder: Path, *, replace: bool = True) -> Figure | None:
    """Draw every record that was measured, by experiment; None where there is none."""
    shown = rows([record for record in records if record.verdict in (*LOOKS, "untestable")])
    figure = Figure(folder / "overview.svg", TITLE, CAPTION, "")
    if not shown:
        return None
    if replace or not figure.path.is_file():
        with mpl.rc_context(STYLE):
            canvas = Canvas(figsize=(9.0, HEAD + ROW * len(shown)))
            paint(canvas.subplots(), shown)
            save(canvas, figure.path)
    return figure


def rows(records: Sequence[Record]) -> list[Row]:
    """A heading for each experiment, then its records from the farthest inside to the farthest outside."""
    made = []
    for experiment in dict.fromkeys(record.experiment for record in records):
        made.append(Row(words.EXPERIMENTS.get(experiment, experiment)))
        members = [Row(named(r), r, distance(r)) for r in records if r.experiment == experiment]
        made += sorted(members, key=lambda row: (row.at is None, -row.at.estimate if row.at else 0.0, row.label))
    return made


def named(record: Record) -> str:
    """The record's id, with its kind where the claim has two."""
    return record.id + (" (magnitude)" if record.kind == "magnitude" else "")


def paint(axes: Axes, shown: Sequence[Row]) -> None:
    """Rows from the top down, the side of the claims shaded."""
    edge = limit([row.at for row in shown if row.at])
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.9)
    axes.axvspan(0, edge, color="#0072B2", alpha=0.07, linewidth=0)
    axes.axvline(0, color="black", lw=0.8)
    for y, row in enumerate(shown):
        if row.record is not None:
            axes.axhline(y, color="#dddddd", lw=0.4, zorder=0)
            mark(axes, y, row.record, row.at, edge)
    axes.set_yticks(range(len(shown)), [row.label for row in shown], fontsize=8)
    for label, row in zip(axes.get_yticklabels(), shown, strict=True):
        label.set_fontweight("normal" if row.record else "bold")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlim=(-edge, edge), ylim=(len(shown) - 0.4, -0.8))
    ends = [sign * 10.0**power for power in range(int(log10(edge)) + 1) for sign in (-1, 1)]
    axes.set_xticks(sorted({0.0, *ends}), [f"{tick:g}" for tick in sorted({0.0, *ends})])
    axes.set_xlabel("outside the region  ←  standard deviations over texts  →  inside the region")
    legend(axes, shown)


def mark(axes: Axes, y: int, record: Record, at: Distance | None, edge: float) -> None:
    """One record: its interval and its verdict's sign, or a word where there is no distance."""
    if at is None or record.verdict not in LOOKS:
        axes.annotate(
            record.verdict, (0, y), ha="center", va="center", fontsize=7, color="#555555", backgroundcolor="white"
        )
        return
    low, middle, high = (max(-edge, min(edge, value)) for value in (at.low, at.estimate, at.high))
    axes.plot([low, high], [y, y], color=LOOKS[record.verdict]["color"], lw=2.2, solid_capstyle="butt", clip_on=False)
    axes.plot([middle], [y], markersize=6, linestyle="none", clip_on=False, **LOOKS[record.verdict])


def legend(axes: Axes, shown: Sequence[Row]) -> None:
    """The verdicts' signs above the rows, each with its number of records."""
    for verdict, look in LOOKS.items():
        count = sum(row.record is not None and row.record.verdict == verdict for row in shown)
        axes.plot([], [], linestyle="none", label=f"{verdict} ({count})", **look)
    axes.legend(frameon=False, ncols=len(LOOKS), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def limit(distances: Sequence[Distance]) -> float:
    """The power of ten beyond every finite distance; at least 10."""
    values = [abs(value) for found in distances for value in found if isfinite(value)]
    return 10.0 ** max(1, ceil(log10(max(values, default=1.0) or 1.0)))
