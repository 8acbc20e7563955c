"""Halves, and conditions or lengths, of one measurement -> one dataset."""

import numpy as np
import xarray as xr

MISSING = {"f": np.nan, "i": -1, "U": ""}


def joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Join the halves of one measurement: each variable along `text`, along `selected_on`, or equal in both."""
    if len(parts) == 1:
        return parts[0]
    along = {
        dim: [part[[name for name, v in part.data_vars.items() if dim in v.dims]] for part in parts]
        for dim in ("text", "selected_on")
    }
    shared = parts[0][[n for n, v in parts[0].data_vars.items() if not {"text", "selected_on"} & set(v.dims)]]
    pieces = [
        xr.concat(group, dim, coords="minimal", compat="override", join="exact", combine_attrs="override")
        for dim, group in along.items()
        if all(len(part.data_vars) for part in group)
    ]
    return xr.merge([*pieces, shared], compat="override", join="exact", combine_attrs="override")


def beside(parts: list[xr.Dataset]) -> xr.Dataset:
    """Join the conditions, or else the lengths from short to long, of one measurement, each measured on its own."""
    if len(parts) == 1:
        return parts[0]
    along = "length" if len({str(part["condition"].values.tolist()) for part in parts}) == 1 else "condition"
    if along == "length":
        parts = sorted(parts, key=lambda part: part["length"].values.tolist())
    fills = {name: MISSING[v.dtype.kind] for name, v in parts[0].data_vars.items() if v.dtype.kind in MISSING}
    return xr.concat(
        parts,
        along,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="outer",
        fill_value=fills,
        combine_attrs="override",
    )
