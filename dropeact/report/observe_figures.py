"""Figures of what else one pass shows: sinks by head, rotary frequencies, norm and entropy, shares, longer losses."""

from collections.abc import Mapping, Sequence

import xarray as xr
from matplotlib.axes import Axes

from dropeact.axes import SINK_THRESHOLD
from dropeact.measured import Measured
from dropeact.report.drawing import BANDS, COLOURS, QUERIES, Drawing, band, mark_write, mosaic
from dropeact.report.words import NAMES

CLASSES = {"first": "first token", "massive": "massive activations", "ordinary": "ordinary tokens"}


def paint_map(panels: Sequence[Axes], maps: Mapping[str, xr.DataArray], *, top: float, label: str, across: str) -> None:
    """One panel a model, layers downwards, one scale of colours for all."""
    for axes, (name, values) in zip(panels, maps.items(), strict=False):
        cells = values.transpose("layer", ...).values
        mesh = mosaic(axes, cells, vmin=0, vmax=top)
        axes.set(title=NAMES[name], xlabel=across, ylabel="layer" if axes is panels[0] else "")
        if name == list(maps)[-1]:
            axes.figure.colorbar(mesh, ax=list(panels), label=label, shrink=0.9)
    for axes in panels[len(maps) :]:
        axes.set_axis_off()


def paint_heads(panels: Sequence[Axes], measured: Measured) -> None:
    """Attention to the first key by layer and head."""
    scores = {m.name: m.sink_scores().mean("text") for m in (measured.rope, measured.dropped, measured.drope)}
    paint_map(panels, scores, top=1.0, label="attention to the first key", across="head")


def paint_frequencies(panels: Sequence[Axes], measured: Measured) -> None:
    """Massive Query values by layer and rotary pair."""
    counts = {
        model.name: data["rotary_count"].sel(tensor="query").mean("text")
        for model, data in measured.having("phenomena")
    }
    top = max(float(values.max()) for values in counts.values())
    paint_map(panels, counts, top=top, label="massive Query values", across="rotary pair (0 turns fastest)")


def paint_valley(panels: Sequence[Axes], measured: Measured) -> None:
    """Entropy of the representations against the first token's norm, a point a depth."""
    for model in (measured.rope, measured.dropped, measured.drope):
        norm, entropy = (
            model.observations[name].mean("text").isel(depth=slice(1, None)) for name in ("first_norm", "entropy")
        )
        panels[0].plot(norm, entropy, color=COLOURS[model.name], marker="o", ms=3, lw=0.5, label=NAMES[model.name])
    panels[0].set(xscale="log", xlabel="norm of the first token", ylabel="entropy (nats)")
    panels[0].legend(frameon=False)


def paint_shares(panels: Sequence[Axes], measured: Measured) -> None:
    """Attention's share of what a block adds, by layer and class of token."""
    for axes, (name, title) in zip(panels, CLASSES.items(), strict=True):
        having = {}
        for model, data in measured.having("phenomena"):
            shares = data["attention_share"].sel(token_class=name)
            having[NAMES[model.name]] = having_class(shares)
            if shares.notnull().any():
                band(axes, shares["layer"].values, shares.dropna("text", how="all"), model)
        axes.axhline(0.5, color="black", lw=0.6, linestyle=":")
        axes.set(
            title=f"{title}\n{texts_with(having)}",
            xlabel="layer",
            ylim=(0, 1),
            ylabel="attention's share" if name == "first" else "",
        )
        mark_write(axes, measured)
    panels[0].legend(frameon=False)


def having_class(shares: xr.DataArray) -> int:
    """How many texts have a token of the class whose `shares` (text, layer) these are."""
    return int(shares.notnull().any("layer").sum())


def texts_with(counts: Mapping[str, int]) -> str:
    """How many texts are behind the lines of a panel: once where it is the same for every model."""
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} texts"
    return "texts: " + ", ".join(f"{name} {count}" for name, count in counts.items())


def paint_longer_loss(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss by position to 1,024 tokens."""
    for model, data in measured.having("loss-curve"):
        band(panels[0], data["position_bin"].values + 64, data["nats"], model)
    panels[0].set(xlabel="position in two joined passages", ylabel="loss (nats per token)")
    panels[0].legend(frameon=False)


DRAWINGS = {
    "observations": (
        Drawing(
            "sink-heads",
            "7",
            "Attention sinks, head by head",
            f"Mean attention of {QUERIES} to the first key; a head at {SINK_THRESHOLD} or more is a sink.",
            paint_heads,
            3,
        ),
        Drawing(
            "norm-and-entropy",
            "upstream",
            "The first token's norm and the entropy of the representations",
            "A point a depth after a block, means over texts; the lines follow the depth.",
            paint_valley,
        ),
    ),
    "phenomena": (
        Drawing(
            "rotary-frequency",
            "upstream",
            "Where massive Query values lie on the rotary frequencies",
            "Mean over texts, summed over heads. Without rotation the pairs are the same channels and turn no more.",
            paint_frequencies,
            3,
        ),
        Drawing(
            "attention-share",
            "8",
            "Attention's share of what a block adds to the stream",
            "|attention| / (|attention| + |MLP|) per class of token, with 95 % intervals. Dotted: upright w, level one "
            "half. Texts without a token of a class are left out.",
            paint_shares,
            3,
        ),
    ),
    "loss-curve": (
        Drawing(
            "loss-curve",
            "upstream",
            "Loss by position, to twice the length of recalibration's windows",
            "Passages joined two and two; the separator between them is not scored, the second begins at 512. " + BANDS,
            paint_longer_loss,
        ),
    ),
}
