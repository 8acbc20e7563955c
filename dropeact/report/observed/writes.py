"""Stored write shares and value norms -> what the first token's value adds to the stream, with W_O."""

from collections.abc import Callable

import xarray as xr

from dropeact.measured import Measured, Model
from dropeact.report.observed.table import INTERVAL, Quantity, Table, by_model, per_text, spread, written

Profile = Callable[[Model], xr.DataArray]


def write_share(model: Model) -> xr.DataArray:
    """Write share of the first token (text, layer), mean over heads."""
    return model.phenomena["write_share"].mean("head", skipna=False)


def value_ratio(model: Model) -> xr.DataArray:
    """Norm of the first token's value beside that of the others (text, layer), mean over key/value heads."""
    return (model.phenomena["first_value_norm"] / model.phenomena["other_value_norm"]).mean("kv_head", skipna=False)


PROFILES: dict[str, Profile] = {
    "write share of the first token": write_share,
    "norm of its value beside the others'": value_ratio,
}


def writes(measured: Measured) -> Table | None:
    """Both quantities at the write layer, over all layers, and where they are largest."""
    quantities: dict[str, Quantity] = {}
    for name, profile in PROFILES.items():
        quantities |= {f"{name}, {where}": quantity for where, quantity in places(measured, profile).items()}
    caption = (
        "Write share: a_t0 ‖W_O v_0‖ / ‖Σ_j a_tj W_O v_j‖, mean over queries t ≥ 1 and heads: above 1 where the "
        "others cancel part of it. Value norm: ‖v_0‖ / mean of ‖v_t‖ over t ≥ 1, mean over key/value heads. w is the "
        f"layer that writes the first token's norm in RoPE{written(measured)}. "
    )
    return by_model(measured, "5", "What the first token's value writes", caption + INTERVAL, quantities)


def places(measured: Measured, profile: Profile) -> dict[str, Quantity]:
    """A profile over layers at the write layer, as its mean, and at its peak."""
    return {
        "at w": per_text(lambda model: measured.at_write(profile(model))),
        "mean over layers": per_text(lambda model: profile(model).mean("layer", skipna=False)),
        "largest": lambda model: peak(profile(model)),
    }


def peak(profile: xr.DataArray) -> str:
    """The layer whose mean over texts is largest, and what it is there."""
    layer = int(profile.mean("text", skipna=False).idxmax("layer"))
    return f"{spread(profile.sel(layer=layer, drop=True))} at layer {layer}"
