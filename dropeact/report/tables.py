"""Small tables of the report that come straight from measurements: losses by model and position."""

from collections.abc import Mapping
from math import exp
from typing import Any, NamedTuple

from dropeact.axes import COLUMNS
from dropeact.report.words import NAMES
from dropeact.store import Store


class Loss(NamedTuple):
    """One model's loss on the passages: nats per token, perplexity, and nats by position."""

    name: str
    nats: float
    perplexity: float
    by_position: dict[int, float]


def perplexities(store: Store, run: Mapping[str, Any]) -> list[Loss]:
    """Mean over texts of the loss at 512 tokens, for the three columns."""
    losses = []
    for column in COLUMNS:
        data = store.load(column, "passages", run["arm"], "observations")
        nats = float(data["nats_mean"].mean())
        bins = data["nats"].mean("text")
        losses.append(
            Loss(
                NAMES[column],
                nats,
                exp(nats),
                {int(b): float(bins.sel(position_bin=b)) for b in bins["position_bin"].values},
            )
        )
    return losses
