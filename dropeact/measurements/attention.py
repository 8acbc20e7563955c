"""Rows of attention -> how much the first key receives (sinks), and how spread each row is (entropy)."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from dropeact.axes import SINK_LENGTH
from dropeact.probes.probing import Readings, Seen
from dropeact.probes.rows import Rows, over_keys

CONVENTIONS = ("without_first_query", "with_first_query")


def row_entropy(rows: Rows) -> Float[Tensor, "batch head query"]:
    """Entropy of each query's weights, in nats.

    H_t = -sum_j a_tj ln a_tj = (ln(total) sum_j e^{s_tj} - sum_j e^{s_tj} s_tj) / total
    """
    mean_score = over_keys(rows.exponentials, rows.scores)
    return (rows.total.log() * rows.summed - mean_score) / rows.total


def read_rows(rows: Rows) -> dict[str, Tensor]:
    """Entropies of one block of rows."""
    return {"row_entropy": row_entropy(rows)}


def read_first_key(weight: Float[Tensor, "batch head query"]) -> dict[str, Tensor]:
    """Weight that each query gives to key 0."""
    return {"first_key_mass": weight}


SINKS = Readings(first_key=(read_first_key,))
READINGS = SINKS + Readings(rows=(read_rows,))


def sink_scores(
    mass: Float[Tensor, "*batch query"], *, length: int, with_first_query: bool = False
) -> Float[Tensor, "*batch"]:
    """Mean weight on key 0 over the queries of the first `length` tokens; query 0 can only attend to itself.

    sink = mean_{t = 1..length-1} a_t0, or over t = 0..length-1. Uniform causal attention scores H_length / length
    with the first query (H harmonic) and (H_length - 1) / (length - 1) without.

    References
    ----------
    Gu et al. (2024), first-token importance, with the first query; arXiv:2410.10781.
    """
    return mass[..., 0 if with_first_query else 1 : length].mean(-1)


def normalised(entropy: Float[Tensor, "*batch query"]) -> Float[Tensor, "*batch query-1"]:
    """Entropy of the queries t >= 1 as a share of its largest value, ln(t + 1)."""
    keys = torch.arange(2, entropy.shape[-1] + 1, dtype=entropy.dtype)
    return entropy[..., 1:] / keys.log()


def labelled(seen: Seen) -> xr.Dataset:
    """Sink scores (text, layer, head, length, convention) and mean entropies over t >= 1 (text, layer, head)."""
    mass = seen["first_key_mass"].transpose(0, 1)
    entropy = seen["row_entropy"].transpose(0, 1)
    tokens = mass.shape[-1]
    lengths = sorted({min(SINK_LENGTH, tokens), tokens})
    scores = [
        [sink_scores(mass, length=length, with_first_query=c == "with_first_query") for c in CONVENTIONS]
        for length in lengths
    ]
    dims = ("text", "layer", "head")
    stacked = torch.stack([torch.stack(row, -1) for row in scores], -2)
    return xr.Dataset(
        {
            "sink_score": ((*dims, "length", "convention"), stacked.numpy()),
            "attention_entropy": (dims, entropy[..., 1:].mean(-1).numpy()),
            "attention_entropy_normalised": (dims, normalised(entropy).mean(-1).numpy()),
        },
        coords={"length": np.array(lengths), "convention": list(CONVENTIONS)},
    )
