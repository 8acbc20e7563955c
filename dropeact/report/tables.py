"""Small tables of the report that come straight from measurements, and the refusal of results that lack them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

from dropeact.axes import COLUMNS, InputError
from dropeact.measured import MissingMeasurement, Model, Protocol
from dropeact.report.words import NAMES
from dropeact.store import Store


@contextmanager
def complete(directory: Path) -> Iterator[None]:
    """Refuse results that lack what every report shows, like a column.

    Raises
    ------
    InputError
        In the place of a MissingMeasurement: one line that names the measurement.
    """
    try:
        yield
    except MissingMeasurement as missing:
        what = str(missing).removesuffix("; measure it again")
        raise InputError(
            f"expected complete results in {directory}; got no measurement {what}; measure again into that folder"
        ) from None


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
        data = Model(column, Protocol(arm=run["arm"]), store).observations
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
