"""Strips -> a line per claim with its verdict under other settings, and a figure of estimate against threshold."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dropeact.axes import MASSIVE_THRESHOLD, SINK_THRESHOLD
from dropeact.estimators import Region
from dropeact.report import words
from dropeact.report.drawing import STYLE, Figure, save
from dropeact.verdicts import robustness
from dropeact.verdicts.robustness import Setting, Strip

SYMBOLS = {"massive_threshold": "λ", "sink_threshold": "τ"}
SETTINGS = {
    "arm": "in the {} arm",
    "massive_threshold": "at λ = {}",
    "sink_threshold": "at τ = {}",
    "sink_length": "over {} tokens",
    "site": "as {}",
    "mean_over": "with the mean over the {}",
}
PUBLISHED = {"massive_threshold": MASSIVE_THRESHOLD, "sink_threshold": SINK_THRESHOLD}
SHADES = {"supported": "#009E73", "contradicted": "#882255", "inconclusive": "#B26F00", "untestable": "#999999"}
ACROSS = 4
ZEROING = "2"  # the experiment whose claims zero as many random channels
TITLE = "Estimate against threshold"
CAPTION = (
    "One panel a claim, along the threshold that it uses, everything else as declared, with 95 % intervals; of a "
    "compound statement its weakest part, and no region where that changes with it. Solid line: the published "
    "threshold (λ = 5, τ = 0.3), where the verdict is made; shaded: the declared region. Colours and shapes are the "
    "verdict each point would have by itself (● supported, ✕ contradicted, ○ inconclusive); they decide nothing."
)
ONE_DRAW = " Where random channels are zeroed (experiment 2) they are one draw a text, and at λ = 5 the mean of four."
SHAPES = {"supported": "o", "contradicted": "X", "inconclusive": "o"}


def line(strip: Strip) -> str:
    """The verdicts of one claim under its settings: marks along the threshold, for each combination of the others."""
    curve = next((name for name in robustness.CURVES if name in strip.varied), None)
    groups: dict[str, list[Setting]] = {}
    for setting in strip.settings:
        if setting.protocol.massive_threshold in robustness.BETWEEN:
            continue  # points of the curve alone
        groups.setdefault(_others(setting, strip, curve), []).append(setting)
    shown = [f"{name} {_marks(members, curve)}".strip() for name, members in groups.items()]
    return f"{_values(next(iter(groups.values())), curve)}{' · '.join(shown)}"


def turning(strip: Strip) -> str:
    """The settings at which a claim, all else as declared, would have the opposite verdict, in words."""
    opposite = {"supported": "contradicted", "contradicted": "supported"}.get(strip.settings[0].verdict)
    turned = {
        name: [getattr(s.protocol, name) for s in strip.along(name) if s.verdict == opposite] for name in SETTINGS
    }
    told = [SETTINGS[name].format(", ".join(map(_plain, values))) for name, values in turned.items() if values]
    return f"{opposite} {' and '.join(told)}" if told else ""


def sensitivity_figure(found: Mapping[str, Strip], folder: Path, *, replace: bool = True) -> Figure | None:
    """Draw every claim that uses a threshold; None where none does."""
    drawn = [(strip, name) for strip in found.values() for name in robustness.CURVES if name in strip.varied]
    if not drawn:
        return None
    zeroing = any(strip.claim.experiment == ZEROING for strip, _ in drawn)
    figure = Figure(folder / "sensitivity.svg", TITLE, CAPTION + (ONE_DRAW if zeroing else ""), "")
    if replace or not figure.path.is_file():
        with mpl.rc_context(STYLE):
            rows = ceil(len(drawn) / ACROSS)
            canvas = Canvas(figsize=(2.6 * ACROSS, 2.0 * rows))
            panels = canvas.subplots(rows, ACROSS, squeeze=False).ravel()
            for axes, (strip, name) in zip(panels, drawn, strict=False):
                paint(axes, strip, name)
            for axes in panels[len(drawn) :]:
                axes.set_axis_off()
            save(canvas, figure.path)
    return figure


def paint(axes: Axes, strip: Strip, name: str) -> None:
    """Estimates with intervals along one threshold, the region shaded, the published threshold marked."""
    known = [s for s in strip.along(name) if s.shown is not None and np.isfinite(s.shown.value)]
    points = [(getattr(s.protocol, name), s) for s in known]
    values = [(x, s.shown.value, s.shown.low, s.shown.high) for x, s in points if s.shown is not None]
    if values:
        x, center, low, high = np.array(values, float).T
        low, high = (np.where(np.isfinite(ends), ends, center) for ends in (low, high))
        axes.plot(x, center, color="black", lw=0.7)
        axes.vlines(x, low, high, color="black", lw=0.7)
    for x, setting in points:
        if setting.verdict in SHAPES and setting.shown is not None:
            colour = SHADES[setting.verdict]
            face = "white" if setting.verdict == "inconclusive" else colour
            look = {"marker": SHAPES[setting.verdict], "color": colour, "markerfacecolor": face, "ms": 5}
            axes.plot([x], [setting.shown.value], linestyle="", **look)
    axes.axvline(PUBLISHED[name], color="black", lw=0.6)
    regions = {setting.shown.region for _, setting in points if setting.shown is not None}
    if len(regions) < 2:
        shade(axes, next(iter(regions), strip.claim.region))
    axes.set_title(strip.claim.id, fontsize=7.5)
    axes.set_xlabel(SYMBOLS[name], labelpad=1)
    axes.set_ylabel(next((s.shown.unit for _, s in points if s.shown is not None), ""), fontsize=7)
    axes.tick_params(labelsize=7)


def shade(axes: Axes, region: Region) -> None:
    """The declared region, as far as the panel reaches once its nearest bound is in sight."""
    bounds = [bound for bound in (region.low, region.high) if np.isfinite(bound)]
    for bound in bounds:
        axes.axhline(bound, color="#0072B2", lw=0.5, linestyle=":")
    low, high = axes.get_ylim()
    axes.axhspan(max(region.low, low), min(region.high, high), color="#0072B2", alpha=0.08, linewidth=0)
    axes.set_ylim(low, high)


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _others(setting: Setting, strip: Strip, curve: str | None) -> str:
    """What a setting is called beside its threshold: `projected, mean over the head`, `512 tokens`, `bos arm`."""
    protocol = setting.protocol
    names = {
        "arm": f"{protocol.arm} arm",
        "site": protocol.site,
        "mean_over": f"mean over the {protocol.mean_over}",
        "sink_length": f"{protocol.sink_length} tokens",
    }
    return ", ".join(text for name, text in names.items() if name in strip.varied and name != curve)


def _marks(settings: Sequence[Setting], curve: str | None) -> str:
    ordered = sorted(settings, key=lambda s: getattr(s.protocol, curve)) if curve else settings
    return "".join(words.MARKS[setting.verdict].split()[0] for setting in ordered)


def _values(settings: Sequence[Setting], curve: str | None) -> str:
    if curve is None:
        return ""
    values = sorted(getattr(setting.protocol, curve) for setting in settings)
    return f"{SYMBOLS[curve]} = {', '.join(f'{value:g}' for value in values)}: "
