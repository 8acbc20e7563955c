"""A stored trajectory -> the page's charts of the recalibration: headline quantities against tokens."""

from pathlib import Path

import numpy as np
import xarray as xr

from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.report.drawing import BANDS
from dropeact.report.html_plot import Chart, Labels, chart
from dropeact.report.trajectory_figure import FILE, QUANTITIES, read_trajectory
from dropeact.report.words import NAMES


def trajectory(directory: Path) -> list[Chart]:
    """One chart a quantity, the model under recalibration against RoPE's mean; none where nothing is stored."""
    file = directory / FILE
    if not file.is_file():
        return []
    data = read_trajectory(file)
    return [drawn(f"trajectory-{i}", label, quantity(data)) for i, (label, quantity) in enumerate(QUANTITIES)]


def drawn(id: str, label: str, values: xr.DataArray) -> Chart:
    """One quantity (stage, text) over tokens; the stage without tokens is the RoPE model, a level line."""
    tokens = values["tokens"].values.astype(float)
    stages = np.flatnonzero(~np.isnan(tokens))
    center, half = mean_and_half_width(values)
    level = np.full(len(stages), float(center[np.isnan(tokens)].mean()))
    series = [
        ("rope", NAMES["rope"], level, np.zeros_like(level)),
        ("drope", "under recalibration", center[stages], half[stages]),
    ]
    title = label.partition(" (")[0]
    labels = Labels(id, "", title[0].upper() + title[1:], BANDS, label, "tokens")
    return chart(labels, tokens[stages], series)
