"""Rows of attention -> how much of it stays near, without the first key: a local mass, and its decay with distance."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from dropeact.probes.probing import Readings, Seen
from dropeact.probes.rows import Rows

WINDOW = 5
DISTANCES = 50


def band(rows: Rows, *, distances: int = DISTANCES) -> Float[Tensor, "batch head query distance"]:
    """Weight that query t gives to key t - delta, delta = 0, 1, ...; 0 where that is the first key or before it."""
    batch, heads, count, _keys = rows.exponentials.shape
    queries = torch.arange(rows.first, rows.first + count, device=rows.total.device)
    keys = queries[:, None] - torch.arange(distances, device=rows.total.device)
    taken = rows.exponentials.gather(-1, keys.clamp(min=0).expand(batch, heads, -1, -1))
    return (taken / rows.total[..., None]).masked_fill_(keys < 1, 0)


def read_rows(rows: Rows) -> dict[str, Tensor]:
    """Local mass of every query, and the band summed over the block's queries."""
    near = band(rows)
    return {"local_mass": near[..., 1 : WINDOW + 1].sum(-1), "distance_sum": near.sum(2, keepdim=True)}


READINGS = Readings(rows=(read_rows,))


def labelled(seen: Seen) -> xr.Dataset:
    """Local mass (text, layer, head) and decay (text, layer, head, distance).

    local_mass = mean_{t >= 1} sum_{j = max(1, t-5)}^{t-1} a_tj
    distance_mass[delta] = mean of a_{t, t-delta} over the pairs with t - delta >= 1; NaN where there is none
    """
    mass = seen["local_mass"].transpose(0, 1)
    tokens = mass.shape[-1]
    pairs = (tokens - 1 - torch.arange(DISTANCES)).clamp(min=0)
    decay = seen["distance_sum"].sum(3).transpose(0, 1) / pairs
    dims = ("text", "layer", "head")
    return xr.Dataset(
        {
            "local_mass": (dims, mass[..., 1:].mean(-1).numpy()),
            "distance_mass": ((*dims, "distance"), decay.where(pairs > 0, torch.nan).numpy()),
        },
        coords={"distance": range(DISTANCES)},
    )


def pooled(observed: xr.Dataset, half: str) -> xr.Dataset:
    """Replace the decay of every text by its mean over the texts of one half: a curve per head is all that is drawn."""
    mean = observed["distance_mass"].mean("text").expand_dims(selected_on=np.array([half]))
    return observed.drop_vars("distance_mass").assign(distance_mass=mean)
