"""Sink score, local mass and entropy of every head -> its class; no torch."""

import numpy as np
import xarray as xr

from dropeact.axes import SINK_THRESHOLD

LOCAL_THRESHOLD = 0.3
CLASSES = ("sink", "local", "distributed", "mixed")


def head_classes(observed: xr.Dataset) -> xr.DataArray:
    """Class of every head (layer, head), from statistics averaged over the texts.

    sink: sink score of the whole text >= 0.3, first query left out; else local: local mass >= 0.3; else distributed:
    entropy above the median of the layer's heads; else mixed.

    References
    ----------
    The classes of the study's experiment 7, on local mass without the first key and on exact entropies.
    """
    length = int(observed["length"].max())
    sink = observed["sink_score"].sel(length=length, convention="without_first_query", drop=True).mean("text")
    local = observed["local_mass"].mean("text")
    entropy = observed["attention_entropy"].mean("text")
    spread = entropy > entropy.median("head")
    named = xr.where(spread, "distributed", "mixed")
    named = xr.where(local >= LOCAL_THRESHOLD, "local", named)
    named = xr.where(sink >= SINK_THRESHOLD, "sink", named)
    return named.transpose("layer", "head").rename("head_class")


def class_shares(classes: xr.DataArray) -> xr.DataArray:
    """Share of a layer's heads in each class (layer, head_class)."""
    shares = np.stack([(classes == name).mean("head").values for name in CLASSES], -1)
    coords = {"layer": classes["layer"], "head_class": list(CLASSES)} if "layer" in classes.coords else {}
    return xr.DataArray(shares, dims=("layer", "head_class"), coords=coords)
