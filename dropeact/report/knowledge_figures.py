"""Figures of what the models know: accuracy by task and condition, and answers that say neither yes nor no."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from dropeact.estimators import items, tasks
from dropeact.measured import Measured
from dropeact.report.drawing import COLOURS, Drawing
from dropeact.report.retrieval_figures import ABOVE, BLANK, CONDITIONS, SAID, TICKS, paint_hidden
from dropeact.report.words import NAMES

BOTH = "Both: massive values zeroed and the first token's MLP left out."


def paint_accuracy(panels: Sequence[Axes], measured: Measured) -> None:
    """Accuracy of every task by condition; the dotted line is chance. The last panel is that of the hidden numbers."""
    for axes, task in zip(panels[:-1], tasks.PARAMETRIC + tasks.CONTEXTUAL[:1], strict=True):
        for offset, (model, data) in enumerate(measured.having("knowledge")):
            chosen = data.isel(text=np.flatnonzero(data["task"].values == task))
            shown = [name for name in CONDITIONS if name in data["condition"].values]
            x = np.array([list(CONDITIONS).index(name) for name in shown]) + 0.26 * (offset - 1)
            pairs = tasks.by_pair(chosen["correct"].astype(float))
            found = [items.mean(pairs.sel(condition=name, drop=True), unit="") for name in shown]
            drawn = np.array([(one.value, one.value - one.low, one.high - one.value) for one in found]).reshape(-1, 3)
            axes.bar(x, drawn[:, 0], 0.24, yerr=drawn[:, 1:].T, color=COLOURS[model.name], label=NAMES[model.name])
        axes.axhline(tasks.chance(task), color="black", lw=0.6, linestyle=":")
        axes.set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()), rotation=30, ha="right")
        axes.set(
            title=task.capitalize(),
            ylim=(0, ABOVE),
            yticks=TICKS,
            ylabel="share of facts right",
        )
    panels[0].legend(frameon=False, fontsize=7, ncols=3, loc="upper center")
    paint_hidden(panels[-1], measured)
    panels[-1].set_ylabel("share of numbers found")


def paint_parsing(panels: Sequence[Axes], measured: Measured) -> None:
    """Yes/no accuracy with unparsed answers wrong (bar) and dropped (cross), all tasks together."""
    for offset, (model, data) in enumerate(measured.having("knowledge")):
        shown = [name for name in CONDITIONS if name in data["condition"].values]
        x = np.array([list(CONDITIONS).index(name) for name in shown]) + 0.26 * (offset - 1)
        right = data["answer_correct"].sel(condition=shown).astype(float)
        parsed = right.where(data["answer"].sel(condition=shown) >= 0)
        panels[0].bar(x, right.mean("text"), 0.24, color=COLOURS[model.name], label=NAMES[model.name])
        panels[0].plot(x, parsed.mean("text"), "x", color="black", markersize=4)
    panels[0].axhline(0.5, color="black", lw=0.6, linestyle=":")
    panels[0].set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()))
    panels[0].set(ylim=(0, ABOVE), yticks=TICKS, ylabel="share of yes/no answers right")
    panels[0].legend(frameon=False, fontsize=7, ncols=3, loc="upper center")


DRAWINGS = {
    "knowledge": (
        Drawing(
            "knowledge",
            "3",
            "Accuracy by task and condition",
            "Share of facts whose true completion is more probable than the false one, with 95 % intervals over pairs "
            "that swap their completions; the dotted line is chance. Last: numbers found in a text, plain (circles) "
            f"and cued (squares), with Wilson intervals. {SAID} {BOTH} {BLANK}",
            paint_accuracy,
            4,
        ),
        Drawing(
            "parsing",
            "3",
            "Yes/no answers, unparsed ones wrong or dropped",
            "All facts together. Bars count an answer that is neither yes nor no as wrong; crosses drop it from the "
            f"denominator; the dotted line is chance. {SAID} {BOTH} {BLANK}",
            paint_parsing,
        ),
    ),
}
