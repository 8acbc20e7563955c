"""Stored effects of an ablation of the first token -> whether it did what it is named for, and what went with it."""

import xarray as xr

from dropeact.axes import HALVES
from dropeact.measured import Measured, Model


def checks(measured: Measured, model: Model) -> xr.Dataset:
    """Manipulation checks (half, condition), each at the write layer w of that half's texts.

    first_ratio = mean over texts of |x_0| / median_{t >= 1} |x_t| after block w; largest_ratio = the largest such mean
    after block w or a later one; sink_rate = mean over texts and the layers above w of the share of sink heads.
    """
    found = []
    for half, layer in measured.write_layers.items():
        seen = model.effects.isel(text=model.effects["half"].values == half)
        ratio = (seen["first_norm"] / seen["other_norm_median"]).mean("text", skipna=False)
        above = seen["sink_rate"].sel(layer=seen["layer"] > layer)
        checked = {
            "first_ratio": ratio.sel(depth=layer + 1, drop=True),
            "largest_ratio": ratio.sel(depth=ratio["depth"] > layer).max("depth", skipna=False),
            "sink_rate": above.mean(["text", "layer"], skipna=False),
        }
        found.append(xr.Dataset(checked))
    return xr.concat(found, "half", coords="minimal", compat="override").assign_coords(half=list(measured.write_layers))


def sinks_above(measured: Measured, model: Model, condition: str) -> xr.DataArray:
    """Share of sink heads in the layers above w, per text."""
    return measured.after_write(model.effects["sink_rate"].sel(condition=condition, drop=True))


def valley(measured: Measured, model: Model, condition: str) -> xr.DataArray:
    """The smallest entropy of the representations after block w or a later one, per text."""
    entropy = model.effects["entropy"].sel(condition=condition, drop=True)
    parts = [
        entropy.isel(text=entropy["half"].values == half)
        .sel(depth=entropy["depth"] > measured.write_layers[half])
        .min("depth", skipna=False)
        for half in HALVES
    ]
    return xr.concat(parts, "text", coords="minimal", compat="override").sel(text=entropy["text"])
