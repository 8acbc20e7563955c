"""Figures of what is lost without a part: layers of every model, channels and the first token, layer by layer."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.drawing import COLOURS, WRITTEN, Drawing, band, mark_write, mosaic
from dropeact.report.words import NAMES

STUDY_LAYER = 1
ROWS = {
    "mlp": "MLP",
    "attention": "attention",
    "both": "both",
    "first": "both, first token",
    "first-mlp": "MLP, first token",
}
BARS = {
    "massive": "massive, zeroed",
    "next-largest": "next largest, zeroed",
    "random": "random, zeroed",
    "smallest": "smallest, zeroed",
    "top1-mean": "top of each head, at its mean",
    "bottom1-mean": "bottom of each head, at its mean",
    "first-mlp": "first token's MLP at w",
    "first-value": "first token's value at w",
    "first-values": "first token's values",
}
DECODED = {"first-mlp": "at absolute position 0", "call-mlp": "at index 0 of each call"}


def paint_atlas(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss increase by what is left out and layer, one panel a model, one scale of colours for all."""
    drawn = [(model, grid(model)) for model, _ in measured.having("atlas")]
    top = max(float(increases.max()) for _, increases in drawn)
    norm = PowerNorm(0.5, vmin=0, vmax=top)
    for axes, (model, increases) in zip(panels, drawn, strict=False):
        mesh = mosaic(axes, increases.clip(min=0), norm=norm)
        axes.set_yticks(np.arange(len(ROWS)), list(ROWS.values()) if axes is panels[0] else [""] * len(ROWS))
        axes.set(title=NAMES[model.name], xlabel="layer")
        for layer in sorted(set(measured.write_layers.values())):
            axes.axvline(layer, color="white", lw=0.7, linestyle=":")
        if model is drawn[-1][0]:
            axes.figure.colorbar(mesh, ax=list(panels), label="loss increase (nats per token)", shrink=0.9)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()


def grid(model: Model) -> np.ndarray:
    """Mean loss increase over texts (part, layer), NaN where a part was not measured."""
    rows = []
    for part in ROWS:
        try:
            rows.append(model.loss_without(part).mean("text").values)
        except MissingMeasurement:
            rows.append(np.full(model.measurement("atlas").sizes["layer"], np.nan))
    return np.array(rows)


def paint_bars(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss increase by condition, with intervals."""
    axes, models = panels[0], [model for model, _ in measured.having("ablation")]
    for offset, model in enumerate(models):
        y, drawn = [], []
        for place, name in enumerate(BARS):
            try:
                drawn.append(mean_and_half_width(model.nats(name) - model.nats("baseline")))
            except MissingMeasurement:
                continue
            y.append(place + 0.26 * (offset - 1))
        center, half = (np.array([float(values[i]) for values in drawn]) for i in (0, 1))
        axes.barh(y, center, 0.24, xerr=half, color=COLOURS[model.name], label=NAMES[model.name], error_kw={"lw": 1})
    axes.set_yticks(range(len(BARS)), list(BARS.values()))
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.6)
    axes.set(xlabel="loss increase (nats per token)")
    axes.legend(frameon=False, fontsize=7)


def paint_decoded(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss increase of tokens read one by one from the cache: first token by position, and first of every call."""
    for offset, (model, data) in enumerate(measured.having("decoded")):
        nats = data["nats"]
        shown = [name for name in DECODED if name in nats["condition"].values]
        increases = [nats.sel(condition=name) - nats.sel(condition="baseline") for name in shown]
        center, half = np.array([mean_and_half_width(values) for values in increases], float).T
        y = np.array([list(DECODED).index(name) for name in shown]) + 0.26 * (offset - 1)
        panels[0].barh(y, center, 0.24, xerr=half, color=COLOURS[model.name], label=NAMES[model.name])
    panels[0].set_yticks(range(len(DECODED)), list(DECODED.values()))
    panels[0].invert_yaxis()
    panels[0].set(xlabel="loss increase (nats per token)")
    panels[0].legend(frameon=False, fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))


def paint_first_token(panels: Sequence[Axes], measured: Measured) -> None:
    """Loss increase without the first token's MLP, at every layer; the write layer dotted, the study's layer dashed."""
    for model, _ in measured.having("atlas"):
        try:
            increases = model.loss_without("first-mlp")
        except MissingMeasurement:
            continue
        band(panels[0], increases["layer"].values, increases, model)
    panels[0].set(xlabel="layer", ylabel="loss increase (nats per token)")
    mark_write(panels[0], measured)
    if set(measured.write_layers.values()) != {STUDY_LAYER}:
        panels[0].axvline(STUDY_LAYER, color="black", lw=0.5, linestyle="--")
    panels[0].legend(frameon=False)


DRAWINGS = {
    "atlas": (
        Drawing(
            "ablation-atlas",
            "6",
            "Loss without a part of one layer",
            "Mean increase over 96 tokens of half of the passages, zero in the place of what is left out; a decrease "
            f"is shown as none, and colours go by the square root. {WRITTEN}",
            paint_atlas,
            3,
        ),
        Drawing(
            "first-token-curve",
            "4",
            "Loss without the first token's MLP output, layer by layer",
            "With 95 % intervals. Dotted: the layer that writes the first token's norm. Dashed: layer 1, the one that "
            "the study names. 96 tokens of half of the passages.",
            paint_first_token,
        ),
    ),
    "ablation": (
        Drawing(
            "ablation-bars",
            "2",
            "Loss with channels replaced, or the first token changed",
            "With 95 % intervals over texts. Zeroed channels are as many in all models; the largest (top) or smallest "
            "(bottom) channel of each head is held at its mean over the text; first token's MLP and value left out, at "
            "w, the layer that writes its norm, or in all layers.",
            paint_bars,
        ),
    ),
    "decoded": (
        Drawing(
            "cached-ablation",
            "4",
            "The write layer's MLP left out while decoding from the cache",
            "Loss of 32 tokens read one by one after a prompt of 64, with 95 % intervals over texts. A hook on index 0 "
            "of each call removes the MLP of every token written, too; the study's generation tasks were run with such "
            "hooks.",
            paint_decoded,
        ),
    ),
}
