"""Stored largest activations -> which channels and tokens hold them after the write layer, and how constantly."""

from collections import Counter

import numpy as np
import xarray as xr

from dropeact.axes import HALVES
from dropeact.measured import Measured, Model
from dropeact.report.observed.table import Quantity, Table, by_model, spread, written
from dropeact.report.words import number

RANKS = {1: "largest", 2: "second", 3: "third"}


def activations(measured: Measured) -> Table | None:
    """The three largest activations after the write layer, and how many of them are massive."""
    quantities: dict[str, Quantity] = {
        f"{words} activation": lambda model, rank=rank: held(measured, model, rank) for rank, words in RANKS.items()
    }
    quantities["massive activations in a text"] = lambda model: spread(
        after_write(measured, model.phenomena["massive_activation_count"])
    )
    quantities["median activation of a text"] = lambda model: spread(
        after_write(measured, model.phenomena["activation_median"])
    )
    caption = (
        f"Of |h| after block w{written(measured)}: the most frequent channel and token of each rank, the number of "
        "texts that have the activation there, and its value, mean over these texts ± its standard deviation. "
        "Massive: |h| > 100 and at least 1000 times the median |h| of the text. Last two rows: mean over texts ± half "
        "the 95 % interval."
    )
    return by_model(measured, "upstream", "Which channels hold the massive activations", caption, quantities)


def held(measured: Measured, model: Model, rank: int) -> str:
    """The most frequent place of the activation of a rank, and its value in the texts that have it there."""
    channel, token, value = (
        after_write(measured, model.phenomena[f"activation_{name}"].sel(rank=rank, drop=True))
        for name in ("channel", "token", "value")
    )
    places = list(zip(channel.values.tolist(), token.values.tolist(), strict=True))
    place, count = Counter(places).most_common(1)[0]
    values = value.values.astype(float)[[found == place for found in places]]
    deviation = f" ± {number(float(np.std(values, ddof=1)))}" if count > 1 else ""
    return f"{number(float(values.mean()))}{deviation} (channel {place[0]}, token {place[1]}; {count} of {len(places)})"


def after_write(measured: Measured, values: xr.DataArray) -> xr.DataArray:
    """Values (text, depth) after the write layer of each text's half."""
    parts = [
        values.isel(text=values["half"].values == half).sel(depth=measured.write_layers[half] + 1, drop=True)
        for half in HALVES
    ]
    return xr.concat(parts, "text", coords="minimal", compat="override").sel(text=values["text"])
