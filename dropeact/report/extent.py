"""Stored measurements -> on how many texts each kind of number rests, and on how many tokens of each text."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dropeact.measured import MissingMeasurement, Model, Protocol
from dropeact.store import Store

NUMBERS = {
    "observations": "massive values, sinks, norms, entropies, attention, loss",
    "phenomena": "massive activations, local attention, write and residual shares, Q and K norms",
    "disruption": "loss with massive or random channels zeroed",
    "disruption_by_threshold": "the same at other λ",
    "ablation": "loss with channels replaced, or the first token changed",
    "effects": "norm, sinks and entropies with the first token changed",
    "atlas": "loss with parts of one layer left out",
    "decoded": "loss of the last tokens, read from the cache",
    "loss-curve": "loss by position, texts joined two and two",
}


class Extent(NamedTuple):
    """What one measurement read: the first `tokens` of each of `texts`."""

    numbers: str
    measurement: str
    texts: int
    tokens: int


def extents(store: Store, run: Mapping[str, Any]) -> list[Extent]:
    """Every kind of number that was measured on passages and says of how many tokens."""
    model = Model("rope", Protocol(arm=run["arm"]), store)
    found = []
    for name, numbers in NUMBERS.items():
        try:
            data = model.measurement(name)
        except MissingMeasurement:
            continue
        tokens = json.loads(data.attrs.get("dropeact_depends", "{}")).get("length")
        if tokens is not None:
            found.append(Extent(numbers, name, data.sizes["text"], tokens))
    return found
