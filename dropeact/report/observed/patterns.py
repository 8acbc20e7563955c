"""Stored attention readings -> classes of heads, entropy, local attention and its decay, beside uniform attention."""

import xarray as xr

from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.measurements import uniform
from dropeact.measurements.head_classes import CLASSES, class_shares, head_classes
from dropeact.report.observed.table import INTERVAL, Quantity, Table, by_model, per_text
from dropeact.report.words import number

DISTANCES = (1, 5, 10, 20, 49)


def classes(measured: Measured) -> Table | None:
    """Share of the heads in each class."""
    quantities = {name: lambda model, name=name: share_of_class(model, name) for name in CLASSES}
    caption = (
        "Share of all heads, from scores averaged over the texts. Sink: at least 0.3 of the attention to the first key "
        "(whole text, first query left out); else local: at least 0.3 to the five keys before the query; else "
        "distributed: entropy above the median of the layer's heads; else mixed."
    )
    return by_model(measured, "7", "What heads mostly do", caption, quantities)


def share_of_class(model: Model, name: str) -> str:
    """Share of a model's heads in a class, over all layers."""
    local = model.phenomena["local_mass"].sel(text=model.observations["text"])
    shares = class_shares(head_classes(model.observations.assign(local_mass=local)))
    return number(float(shares.sel(head_class=name).mean("layer")))


def patterns(measured: Measured) -> Table | None:
    """Entropy of attention, local mass, and attention by distance."""
    tokens = length(measured)
    if tokens is None:
        return None
    quantities: dict[str, Quantity] = {
        f"entropy in nats (uniform {uniform.attention_entropy(tokens):.2f})": per_text(
            lambda model: over_heads(model.observations["attention_entropy"])
        ),
        "entropy as a share of its largest value (uniform 1)": per_text(
            lambda model: over_heads(model.observations["attention_entropy_normalised"])
        ),
        f"to the five keys before the query, together (uniform {uniform.local_mass(tokens):.3f})": per_text(
            lambda model: over_heads(model.phenomena["local_mass"])
        ),
    } | {
        f"at distance {distance} (uniform {uniform.distance_mass(tokens, distance):.4f})": (
            lambda model, distance=distance: at_distance(model, distance)
        )
        for distance in DISTANCES
        if distance < tokens - 1
    }
    caption = (
        f"Attention a of {tokens} tokens, means over layers, heads and queries t ≥ 1. Entropy −Σ_j a_tj ln a_tj, at "
        "most ln(t + 1). Local attention and attention by distance leave the first key out; the latter is stored as a "
        f"mean over the texts alone. {INTERVAL}"
    )
    return by_model(measured, "7", "How spread and how local attention is", caption, quantities)


def length(measured: Measured) -> int | None:
    """How many tokens the texts have; None where nothing is stored."""
    try:
        return int(measured.rope.observations["length"].max())
    except (MissingMeasurement, KeyError):
        return None


def at_distance(model: Model, distance: int) -> str:
    """Mean attention to the key so many before the query, over layers, heads and both halves."""
    return number(float(model.phenomena["distance_mass"].sel(distance=distance).mean(skipna=False)))


def over_heads(values: xr.DataArray) -> xr.DataArray:
    """Mean over layers and heads of a text."""
    return values.astype(float).mean(["layer", "head"], skipna=False)
