"""A recalibration's trajectory -> one figure: headline quantities against tokens, the RoPE parent as a level line."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from dropeact.axes import InputError
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.files import read_dataset
from dropeact.report.drawing import COLOURS, DASHES, STYLE, Figure, save
from dropeact.report.words import NAMES

FILE = "trajectory.nc"
TITLE = "How the reorganisation forms during recalibration"
CAPTION = (
    "{} passages; 0 tokens is the RoPE model with its rotation just dropped, level lines are RoPE itself. "
    "Bands are 95 % intervals over texts."
)
QUANTITIES: tuple[tuple[str, Callable[[xr.Dataset], xr.DataArray]], ...] = (
    ("loss (nats per token)", lambda data: data["nats"].mean("position_bin", skipna=False)),
    ("massive Query values", lambda data: data["massive_count"].sel(tensor="query").sum("layer", skipna=False)),
    ("massive Key values", lambda data: data["massive_count"].sel(tensor="key").sum("layer", skipna=False)),
    ("share of sink heads", lambda data: data["sink_rate"].mean("layer", skipna=False)),
    (
        "peak norm of the first token",
        lambda data: data["first_norm"].isel(depth=slice(1, None)).max("depth", skipna=False),
    ),
    ("smallest entropy (nats)", lambda data: data["entropy"].isel(depth=slice(1, None)).min("depth", skipna=False)),
)
HELD = {
    "nats": ("position_bin",),
    "massive_count": ("layer", "tensor"),
    "sink_rate": ("layer",),
    "first_norm": ("depth",),
    "entropy": ("depth",),
}  # each of stage and text too


def read_trajectory(file: Path) -> xr.Dataset:
    """Read a stored trajectory.

    Raises
    ------
    InputError
        When it cannot be read, or is a NetCDF file of something else.
    """
    data = read_dataset(file)
    dims = {name: {"stage", "text", *own} for name, own in HELD.items()}
    lacking = [name for name in HELD if name not in data or set(data[name].dims) != dims[name]]
    if "tokens" not in data.coords or data["tokens"].dims != ("stage",):
        lacking.append("tokens")
    if lacking:
        raise InputError(f"expected a trajectory of dropeact; got {file} without {lacking[0]}; move it away")
    return data


def trajectory_figure(directory: Path, folder: Path, *, replace: bool = True) -> Figure | None:
    """Draw the stored trajectory of a folder of results; None where there is none."""
    file = directory / FILE
    if not file.is_file():
        return None
    data = read_trajectory(file)
    figure = Figure(folder / "trajectory.svg", TITLE, caption(data), "upstream")
    if figure.path.is_file() and not replace:
        return figure
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(10.2, 5.2))
        panels = list(canvas.subplots(2, 3).flat)
        for axes, (label, quantity) in zip(panels, QUANTITIES, strict=True):
            paint(axes, quantity(data), label)
        panels[0].legend(frameon=False)
        save(canvas, figure.path)
    return figure


def caption(data: xr.Dataset) -> str:
    """The caption, with the arm where texts do not begin as they are; older trajectories name none and do."""
    arm = data.attrs.get("arm", "first")
    said = CAPTION.format(data.sizes["text"])
    return said if arm == "first" else f"{said} Texts begin in the {arm} arm."


def paint(axes: Axes, values: xr.DataArray, label: str) -> None:
    """One quantity (stage, text) against tokens, the RoPE parent's mean as a level line."""
    tokens = values["tokens"].values
    stages = np.flatnonzero(~np.isnan(tokens))
    center, half = mean_and_half_width(values)
    look = {"color": COLOURS["drope"], "linestyle": DASHES["drope"], "marker": "o", "ms": 3}
    axes.plot(tokens[stages] / 1000, center[stages], label="under recalibration", **look)
    axes.fill_between(
        tokens[stages] / 1000,
        (center - half)[stages],
        (center + half)[stages],
        color=COLOURS["drope"],
        alpha=0.2,
        linewidth=0,
    )
    level = float(center[np.isnan(tokens)].mean())
    axes.axhline(level, color=COLOURS["rope"], linestyle=DASHES["rope"], label=NAMES["rope"])
    axes.set(xlabel="thousand tokens of recalibration", ylabel=label)
