"""Figures of numbers hidden in a text: written and ranked by condition, by length and depth, and how answers err."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dropeact.corpus.retrieval import ERRORS, FORMS, NEAR_MISSES
from dropeact.estimators import tasks
from dropeact.estimators.accuracy import wilson
from dropeact.measured import Measured
from dropeact.report.drawing import COLOURS, Drawing
from dropeact.report.observed.answers import shared_length
from dropeact.report.words import NAMES

CONDITIONS = {
    "baseline": "undisturbed",
    "massive": "massive",
    "random": "random",
    "first-mlp": "first MLP",
    "combined": "both",
}
SAID = "Massive: massive values zeroed; random: as many random ones; first MLP: the first token's MLP left out."
BLANK = "What was not measured has no mark."
MARKERS = {"plain": "o", "cued": "s"}
ABOVE, TICKS = 1.25, (0, 0.25, 0.5, 0.75, 1)  # room for a legend above the largest share
ASIDE, ASIDE_DEPTH = 1.06, 0.015  # how far apart models are drawn: at the same share they would hide one another
KINDS = ("#e6e6e6", "#56B4E9", "#009E73", "#F0E442", "#CC79A7")


def with_interval(scores: xr.DataArray) -> tuple[float, float, float]:
    """Rate over items, and how far Wilson's interval reaches below and above it."""
    rate = float(scores.mean())
    low, high = wilson(rate, scores.sizes["text"])
    return rate, max(0.0, rate - low), max(0.0, high - rate)


def written(asked: xr.Dataset) -> xr.DataArray:
    """Whether the number stands in the answer."""
    return asked["exact"]


def ranked(asked: xr.Dataset) -> xr.DataArray:
    """Whether the number is the most probable answer of four; NaN where that was not asked."""
    scores = asked.get("candidate_log_probability")
    return xr.full_like(asked["exact"], np.nan) if scores is None else tasks.ranked_first(scores)


def paint_hidden(axes: Axes, measured: Measured, right: Callable[[xr.Dataset], xr.DataArray] = written) -> None:
    """Hidden numbers by condition, plain and cued, at the shortest length that all conditions share."""
    retrieval = measured.having("retrieval")
    length = shared_length([data for _, data in retrieval])
    if length is None:
        axes.set_axis_off()
        return
    for offset, (model, data) in enumerate(retrieval):
        for form in (form for form in FORMS if form in data["form"].values):
            rates = right(data.sel(form=form, length=length)).dropna("condition")
            shown = [name for name in CONDITIONS if name in rates["condition"].values]
            x = np.array([list(CONDITIONS).index(name) for name in shown])
            x = x + 0.26 * (offset - 1) + 0.1 * (FORMS.index(form) - 0.5)
            drawn = np.array([with_interval(rates.sel(condition=name)) for name in shown]).reshape(-1, 3)
            style = {
                "color": COLOURS[model.name],
                "marker": MARKERS[form],
                "markersize": 4,
                "linestyle": "none",
                "lw": 1,
            }
            axes.errorbar(x, drawn[:, 0], yerr=drawn[:, 1:].T, label=form if offset == 0 else None, **style)
    measured_here = {name for _, data in retrieval for name in data["condition"].values.tolist()}
    titles = {place: title for place, (name, title) in enumerate(CONDITIONS.items()) if name in measured_here}
    axes.set_xticks(list(titles), list(titles.values()), rotation=30, ha="right")
    axes.set(title=f"Hidden numbers, {length} tokens", ylim=(-0.03, ABOVE), yticks=TICKS)
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")


def paint_ranking(panels: Sequence[Axes], measured: Measured) -> None:
    """The same prompts twice: numbers written (left), and numbers that are the most probable answer of four (right)."""
    paint_hidden(panels[0], measured)
    paint_hidden(panels[1], measured, ranked)
    panels[0].set(title="written", ylabel="share of prompts")
    panels[1].set(title="ranked first of four")
    panels[1].axhline(1 / (1 + NEAR_MISSES), color="black", lw=0.6, linestyle=":")
    colours = [Line2D([], [], color=COLOURS[model.name]) for model, _ in measured.having("retrieval")]
    names = [NAMES[model.name] for model, _ in measured.having("retrieval")]
    panels[1].legend(colours, names, frameon=False, fontsize=7, ncols=3, loc="upper center")


def paint_retrieval(panels: Sequence[Axes], measured: Measured) -> None:
    """Numbers found, by length (left) and by the depth of the needle (right)."""
    shorts = undisturbed(measured, "retrieval")
    longs = undisturbed(measured, "long_retrieval")
    for (model, form), short in shorts.items():
        style = {"color": COLOURS[model], "marker": MARKERS[form], "lw": 1}
        asked = dict(sorted((short | longs.get((model, form), {})).items()))
        drawn = np.array([with_interval(exact) for exact in asked.values()])
        label = f"{NAMES[model]}, {form}"
        aside = list(COLOURS).index(model) - 1
        lengths = np.array(list(asked)) * ASIDE**aside
        panels[0].errorbar(lengths, drawn[:, 0], yerr=drawn[:, 1:].T, label=label, capsize=2, **style)
        deepest = short[max(short)].groupby("needle_depth").mean()
        panels[1].plot(deepest["needle_depth"] + ASIDE_DEPTH * aside, deepest, **style)
    panels[0].set_xscale("log", base=2)
    longest = max((length for asked in shorts.values() for length in asked), default=0)
    lengths = sorted({length for asked in (*shorts.values(), *longs.values()) for length in asked})
    panels[0].set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=30, ha="right")
    panels[0].minorticks_off()
    panels[0].set(xlabel="tokens", ylabel="share of numbers found", ylim=(-0.02, 1.02), title="by length")
    panels[1].set(
        xlabel="depth of the needle (share of the text)", ylim=(-0.02, 1.02), title=f"by depth, {longest:,} tokens"
    )
    panels[0].legend(frameon=False, fontsize=7)


def undisturbed(measured: Measured, measurement: str) -> dict[tuple[str, str], dict[int, xr.DataArray]]:
    """Whether each prompt's number was found, by (model, form) and length, where it was asked of every prompt."""
    found = {}
    for model, data in measured.having(measurement):
        exact = data["exact"].sel(condition="baseline")
        for form in (form for form in FORMS if form in exact["form"].values):
            asked = exact.sel(form=form).dropna("length", how="any")
            found[model.name, form] = {int(length): asked.sel(length=length) for length in asked["length"].values}
    return found


def paint_errors(panels: Sequence[Axes], measured: Measured) -> None:
    """Shares of all answers that err in each way, undisturbed, over forms and lengths."""
    models = measured.having("retrieval")
    for row, (_, data) in enumerate(models):
        codes = data["error"].sel(condition="baseline").values
        codes, left = codes[codes >= 0], 0.0
        for kind, colour in zip(range(1, len(ERRORS)), KINDS, strict=True):
            share = float((codes == kind).mean())
            panels[0].barh(row, share, left=left, color=colour, label=ERRORS[kind] if row == 0 else None)
            left += share
    panels[0].set_yticks(range(len(models)), [NAMES[model.name] for model, _ in models])
    panels[0].set(xlabel="share of answers", xlim=(0, 1))
    panels[0].legend(frameon=False, fontsize=7)


DRAWINGS = {
    "retrieval": (
        Drawing(
            "ranking",
            "3",
            "Hidden numbers written and ranked",
            "Left: the number stands in the answer. Right: it is more probable as the answer than each of three near "
            "misses; the dotted line is chance. Plain prompts (circles) and cued ones (squares), Wilson intervals. "
            + f"{SAID} {BLANK}",
            paint_ranking,
            2,
        ),
        Drawing(
            "retrieval",
            "10",
            "Hidden numbers found",
            "Exact match, undisturbed; the same prompts for every model, their points set side by side. Left: with "
            "Wilson intervals and the texts of the set `long`, where it was measured. Right: each model at the longest "
            "length without them.",
            paint_retrieval,
            2,
        ),
        Drawing(
            "retrieval-errors",
            "10",
            "How wrong answers err",
            "What is missing to 1 are right answers; a near miss has the right length and one or two wrong digits.",
            paint_errors,
        ),
    ),
}
