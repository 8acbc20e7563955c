"""Stored norm matrices -> do the same channels stand out in the models, and how unequal are their norms."""

from collections.abc import Callable

import xarray as xr

from dropeact.axes import TENSORS
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.measurements.overlap import cosine, gini, jaccard, spearman
from dropeact.report.observed.table import NONE, Table, by_model, over, trimmed
from dropeact.report.words import NAMES

Overlap = Callable[[xr.DataArray, xr.DataArray], xr.DataArray]
MEASURES: dict[str, Overlap] = {
    "massive channels in common": jaccard,
    "rank correlation of norms": spearman,
    "cosine of norms": cosine,
}
LAYERS = "Norms over all tokens of one half of the texts, mean of both halves; mean over layers (smallest to largest)."


def overlaps(measured: Measured) -> Table | None:
    """Agreement of RoPE's norm matrices with those of the other two models, for each tensor."""
    others = [measured.dropped, measured.drope]
    rows = [
        (f"{words}: {tensor.capitalize()}", [_compared(measure, measured.rope, other, tensor) for other in others])
        for words, measure in MEASURES.items()
        for tensor in TENSORS
    ]
    caption = (
        "Channels with M > 5 mean(M), in both models as a share of those in either (layers where neither has one left "
        "out); Spearman's correlation and the cosine of the matrices M (head × channel) of a layer. "
    )
    names = [f"RoPE and {NAMES[other.name]}" for other in others]
    return trimmed(Table("1", "Channels that stand out in both models", caption + LAYERS, names, rows))


def inequality(measured: Measured) -> Table | None:
    """Gini coefficient of the norms of each model and tensor."""
    quantities = {
        tensor.capitalize(): lambda model, tensor=tensor: over(_over_halves(gini(norms(model, tensor))))
        for tensor in TENSORS
    }
    caption = (
        "Gini coefficient of M (head × channel) of a layer: 0 where all norms are equal, near 1 where one is all. "
    )
    return by_model(measured, "1", "How unequal the norms of channels are", caption + LAYERS, quantities)


def norms(model: Model, tensor: str) -> xr.DataArray:
    """Pooled norms (selected_on, layer, head, dim) at the site of the protocol."""
    return model.observations[f"{tensor}_norm"].sel(site=model.protocol.site, drop=True)


def _compared(measure: Overlap, one: Model, other: Model, tensor: str) -> str:
    try:
        found = [norms(model, tensor) for model in (one, other)]
    except (MissingMeasurement, KeyError):
        return NONE
    if found[0].sizes != found[1].sizes:  # models of different shapes have no channel in common
        return NONE
    return over(_over_halves(measure(*found)))


def _over_halves(values: xr.DataArray) -> xr.DataArray:
    return values.mean("selected_on")
