"""Stored sink scores -> sinks by length, convention and first token, beside uniform attention; and the valley."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from dropeact.axes import SINK_THRESHOLD, Column
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.measurements.uniform import excess, sink_score
from dropeact.pairs import ARMS
from dropeact.report.observed.table import INTERVAL, Quantity, Table, by_model, per_text

CONVENTIONS = {"without_first_query": "first query left out", "with_first_query": "first query included"}
READING = (
    "The score of a head is its mean attention to the first key; a sink is a head whose score is at least "
    f"{SINK_THRESHOLD}. The excess is (score − u) / (1 − u), u the score of uniform attention: H_T / T with the first "
    "query, (H_T − 1) / (T − 1) without, H_T = 1 + 1/2 + … + 1/T; it is the same with and without. Means over layers "
    "and heads."
)


class Reading(NamedTuple):
    """One way of reading sinks: how many first tokens, and whether the first query takes part."""

    length: int
    convention: str

    def scores(self, model: Model) -> xr.DataArray:
        """Sink scores (text, layer, head)."""
        return model.sink_scores(length=self.length, convention=self.convention).astype(float)

    def rate(self, model: Model) -> xr.DataArray:
        """Share of a text's heads that are sinks."""
        scores = self.scores(model)
        return _over_heads((scores >= model.protocol.sink_threshold).where(scores.notnull()))

    def score(self, model: Model) -> xr.DataArray:
        """Mean score of a text's heads."""
        return _over_heads(self.scores(model))

    def excess(self, model: Model) -> xr.DataArray:
        """Mean excess of a text's heads over uniform attention."""
        return excess(self.score(model), self.length, with_first_query=self.convention == "with_first_query")

    @property
    def uniform(self) -> str:
        """The score of uniform attention."""
        return f"{sink_score(self.length, with_first_query=self.convention == 'with_first_query'):.3f}"


def conventions(measured: Measured) -> Table | None:
    """Sink rates, scores and excess at each stored length, with and without the first query."""
    try:
        lengths = [int(length) for length in measured.rope.observations["length"].values]
    except (MissingMeasurement, KeyError):
        return None
    ways = {f"{n} tokens, {words}": Reading(n, name) for n in lengths for name, words in CONVENTIONS.items()}
    quantities = (
        {f"share of sinks: {words}": per_text(way.rate) for words, way in ways.items()}
        | {f"score: {words} (uniform {way.uniform})": per_text(way.score) for words, way in ways.items()}
        | {f"excess: {n} tokens": per_text(Reading(n, "without_first_query").excess) for n in lengths}
    )
    return by_model(
        measured, "4", "Sinks by length, with and without the first query", f"{READING} {INTERVAL}", quantities
    )


def first_tokens(measured: Measured) -> Table | None:
    """Sink rates, scores and excess of the texts that every stored arm has, by what their first token is."""
    views = {arm: measured.under(replace(measured.protocol, arm=arm)) for arm in ARMS}
    texts = {arm: found for arm, view in views.items() if (found := _texts(view)) is not None}
    if len(texts) < 2:
        return None
    common = sorted(set.intersection(*map(set, texts.values())))
    way = Reading(measured.protocol.sink_length, "without_first_query")
    quantities: dict[str, Quantity] = {}
    for name, read in (("share of sinks", way.rate), ("score", way.score), ("excess", way.excess)):
        quantities |= {f"{name}: {arm} arm": _in_arm(views[arm], read, common) for arm in texts}
    caption = (
        f"As above, {way.length} tokens, first query left out, the same {len(common)} texts in every arm: as they are "
        f"(first), after the beginning-of-text token (bos), after a separator. Uniform attention scores {way.uniform}. "
    )
    return by_model(measured, "4", "Sinks by first token", caption + INTERVAL, quantities)


def valley(measured: Measured) -> Table | None:
    """How low the entropy of the representations falls, and how far they align."""
    quantities = {
        "smallest entropy (nats)": per_text(lambda m: _after_blocks(m.observations["entropy"]).min("depth")),
        "the same as a share of its largest value": per_text(lambda m: _after_blocks(m.entropy_share).min("depth")),
        "largest anisotropy": per_text(lambda m: _after_blocks(m.observations["anisotropy"]).max("depth")),
    }
    caption = (
        "Of the representations of all tokens of a text after each block, σ their singular values: p_j = σ_j² / Σ σ², "
        "entropy −Σ p_j ln p_j, largest value ln min(T, d), anisotropy p_1. Extremes over the blocks of each text. "
    )
    return by_model(measured, "4", "The valley of entropy", caption + INTERVAL, quantities)


def _texts(view: Measured) -> list[str] | None:
    """The texts of an arm; None where it is not stored."""
    try:
        return view.rope.observations["text"].values.tolist()
    except MissingMeasurement:
        return None


def _in_arm(view: Measured, read: Callable[[Model], xr.DataArray], texts: list[str]) -> Quantity:
    models: dict[Column, Model] = {model.name: model for model in (view.rope, view.dropped, view.drope)}

    def of_texts(model: Model) -> xr.DataArray:
        values = read(models[model.name])
        return values.isel(text=np.isin(values["text"].values, texts))

    return per_text(of_texts)


def _over_heads(values: xr.DataArray) -> xr.DataArray:
    return values.mean(["layer", "head"], skipna=False)


def _after_blocks(values: xr.DataArray) -> xr.DataArray:
    return values.isel(depth=slice(1, None))
