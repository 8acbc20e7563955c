"""The residual stream -> its few enormous values: how large, in which channels and at which tokens."""

from typing import NamedTuple

import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dropeact.probes.probing import Readings, Seen

FLOOR = 100.0
RATIO = 1000.0
RANKS = 3


class Largest(NamedTuple):
    """The largest activations of a text, largest first, with their sign, token and channel."""

    value: Float[Tensor, "batch rank"]
    token: Int[Tensor, "batch rank"]
    channel: Int[Tensor, "batch rank"]


def largest(hidden: Float[Tensor, "batch token hidden"], *, ranks: int = RANKS) -> Largest:
    """The activations of largest magnitude."""
    places = hidden.abs().flatten(1).topk(ranks).indices
    width = hidden.shape[-1]
    return Largest(hidden.flatten(1).gather(1, places), places // width, places % width)


def massive_activations(
    hidden: Float[Tensor, "batch token hidden"], median: Float[Tensor, " batch"]
) -> Bool[Tensor, "batch token hidden"]:
    """Mark activations that are huge in themselves and beside the others of their text and depth.

    |h| > 100 and |h| >= 1000 median(|h|), the median over the tokens and channels of one text

    References
    ----------
    Sun et al. (2024), section 2; arXiv:2402.17762.
    """
    magnitude = hidden.abs()
    return (magnitude > FLOOR) & (magnitude >= RATIO * median[:, None, None])


def read_stream(hidden: Float[Tensor, "batch token hidden"]) -> dict[str, Tensor]:
    """Everything about the massive activations at one depth."""
    hidden = hidden.float()
    median = hidden.abs().flatten(1).median(1).values
    massive = massive_activations(hidden, median)
    top = largest(hidden)
    return {
        "top_value": top.value,
        "top_token": top.token,
        "top_channel": top.channel,
        "median": median,
        "massive": massive.sum((1, 2)),
        "massive_channels": massive.any(1).sum(1),
        "massive_tokens": massive.any(2),
    }


READINGS = Readings(stream=(read_stream,))


def massive_tokens(seen: Seen) -> Bool[Tensor, "batch token"]:
    """Tokens that hold a massive activation at any depth."""
    return seen["massive_tokens"].any(0)


def labelled(seen: Seen) -> xr.Dataset:
    """Largest activations (text, depth, rank), their median and how many there are (text, depth)."""
    ranked = {f"activation_{name}": seen[f"top_{name}"].transpose(0, 1) for name in ("value", "token", "channel")}
    counted = {
        "activation_median": seen["median"],
        "massive_activation_count": seen["massive"],
        "massive_activation_channels": seen["massive_channels"],
        "massive_activation_tokens": seen["massive_tokens"].sum(-1),
    }
    return xr.Dataset(
        {name: (("text", "depth", "rank"), _small(value)) for name, value in ranked.items()}
        | {name: (("text", "depth"), _small(value.T)) for name, value in counted.items()},
        coords={"rank": range(1, RANKS + 1)},
    )


def _small(value: Tensor):
    return (value if value.is_floating_point() else value.to(torch.int32)).numpy()
