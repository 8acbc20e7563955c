"""Figures of the core set, three columns each: RoPE, just dropped, DroPE."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dropeact.axes import SINK_THRESHOLD, TENSORS
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured
from dropeact.report.drawing import BANDS, COLOURS, DASHES, DEPTH, QUERIES, WRITTEN, Drawing, Figure, band, mark_write
from dropeact.report.words import NAMES


def draw(measured: Measured, folder: Path, *, replace: bool = True) -> list[Figure]:
    """Every figure of the core set, painted where it is missing or to be replaced."""
    return [drawing.drawn(measured, folder, replace=replace) for drawing in DRAWINGS]


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
    axes.set(xlabel="channels zeroed in every layer", ylabel="loss increase (nats per token)")
    axes.axhline(0, color="black", lw=0.6)
    axes.legend(frameon=False)


def paint_sinks(panels: Sequence[Axes], measured: Measured) -> None:
    """Share of sink heads per layer."""
    for model in measured.columns:
        rates = model.sink_rate()
        band(panels[0], rates["layer"].values, rates, model)
    panels[0].set(xlabel="layer", ylabel=f"share of sink heads (τ = {SINK_THRESHOLD})", ylim=(-0.02, 1.02))
    mark_write(panels[0], measured)
    panels[0].legend(frameon=False)


def paint_first_norm(panels: Sequence[Axes], measured: Measured) -> None:
    """Norm of the first token's residual stream by depth, and of an ordinary token."""
    for model in measured.columns:
        band(panels[0], model.first_norm["depth"].values, model.first_norm, model)
        other = model.observations["other_norm_median"].mean("text")
        panels[0].plot(other["depth"], other, color=COLOURS[model.name], lw=0.7, linestyle=DASHES[model.name])
    panels[0].set(yscale="log", xlabel=DEPTH, ylabel="norm")
    panels[0].legend(frameon=False)


def paint_entropy(panels: Sequence[Axes], measured: Measured) -> None:
    """Representation entropy by depth, with and without the first token."""
    for axes, variable, title in zip(
        panels, ("entropy", "entropy_without_first"), ("all tokens", "without the first token"), strict=True
    ):
        for model in measured.columns:
            values = model.observations[variable]
            band(axes, values["depth"].values, values, model)
        axes.set(title=title, xlabel=DEPTH, ylabel="entropy (nats)" if variable == "entropy" else "")
    panels[0].legend(frameon=False)


def paint_loss(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss by position in the text."""
    for model in measured.columns:
        losses = model.observations["nats"]
        band(panels[0], losses["position_bin"].values + 64, losses, model)
    panels[0].set(xlabel="position in the text", ylabel="loss (nats per token)")
    panels[0].legend(frameon=False)


DRAWINGS = (
    Drawing(
        "massive-values",
        "1",
        "Massive values by layer",
        f"{BANDS} {WRITTEN}",
        paint_counts,
        3,
    ),
    Drawing(
        "disruption",
        "2",
        "Loss with massive values zeroed, and with as many random ones",
        f"Equal dose in all three models, chosen on the other half of the texts; of random dimensions of the same "
        f"squared norm (norm-matched) many more. {BANDS}",
        paint_disruption,
    ),
    Drawing(
        "sink-rate",
        "4",
        "Share of attention sinks by layer",
        f"Heads that give the first key at least {SINK_THRESHOLD} of their attention, {QUERIES}. {BANDS} {WRITTEN}",
        paint_sinks,
    ),
    Drawing(
        "first-norm",
        "4",
        "Norm of the first token through the layers",
        f"Residual stream, raw. {BANDS} Thin lines: the median of all other tokens.",
        paint_first_norm,
    ),
    Drawing(
        "entropy",
        "4",
        "Entropy of the representations",
        f"{BANDS} Right, without the first token, the valley shows what the other tokens do.",
        paint_entropy,
        2,
    ),
    Drawing("loss", "upstream", "Loss by position", f"Bins of 128 target tokens. {BANDS}", paint_loss),
)
