"""Stored measurements of one model as a claim sees them: named quantities per text, under a stated protocol."""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dropeact.axes import HALVES, MASSIVE_THRESHOLD, Column, Untestable
from dropeact.protocol import Protocol
from dropeact.store import Store

CACHED = (
    "observations",
    "finite",
    "phenomena",
    "disruption",
    "published_disruption",
    "disruption_by_threshold",
    "effects",
)
NAMES: dict[str, str] = {"rope": "RoPE", "dropped": "just dropped", "drope": "DroPE"}  # as a reader sees them
HARNESS, HARNESS_ARM = "harness", "own"  # tasks of lm-evaluation-harness, which begins its texts in its own way
DOSED = ("massive", "random", "norm-matched", "next-largest", "smallest")  # as many channels as lambda makes massive


class MissingMeasurement(Exception):
    """A measurement that a claim needs is not in the store."""


def finite_streams(observations: xr.Dataset) -> xr.DataArray:
    """Whether the residual stream after each block is finite in each text (text, layer).

    No comparison with NaN is true: what is counted in such a stream is 0 and says nothing.
    """
    known = [abs(observations[name]) < np.inf for name in ("first_norm", "entropy")]
    after = (known[0] & known[1]).isel(depth=slice(1, None))
    return after.rename(depth="layer").assign_coords(layer=observations["layer"])


@dataclass(frozen=True)
class Model:
    """One column of the store: what one model showed."""

    name: Column
    protocol: Protocol
    store: Store

    @property
    def title(self) -> str:
        """The model as a reader sees it named."""
        return NAMES[self.name]

    def measurement(self, name: str, *, corpus: str | None = None) -> xr.Dataset:
        """A stored dataset of this column, both halves together."""
        chosen = corpus or self.protocol.corpus
        try:
            data = self.store.load(self.name, chosen, HARNESS_ARM if chosen == HARNESS else self.protocol.arm, name)
        except FileNotFoundError as missing:
            raise MissingMeasurement(str(missing)) from None
        if self._is_of_other_weights(data):
            raise MissingMeasurement(f"{self.name}/{name}: what is stored is of other weights; measure it again")
        if "half" in data.coords and set(data["half"].values.tolist()) != set(HALVES):
            raise MissingMeasurement(f"{self.name}/{name} of one half of the texts")
        return data

    def _is_of_other_weights(self, stored: xr.Dataset) -> bool:
        """Whether the checkpoint that `run.json` names was changed since; a file that names none is taken as it is."""
        checkpoint = json.loads(stored.attrs.get("dropeact_depends", "{}")).get("checkpoint")
        return checkpoint is not None and checkpoint != self._checkpoint

    @cached_property
    def _checkpoint(self) -> object:
        return self.store.read_run()["checkpoints"].get(self.name)

    @cached_property
    def observations(self) -> xr.Dataset:
        """Everything that the one probed pass of each text showed."""
        return self.measurement("observations")

    @cached_property
    def phenomena(self) -> xr.Dataset:
        """What else the same pass shows: write shares, local attention, residual shares, Q/K norms, activations."""
        return self.measurement("phenomena")

    @cached_property
    def disruption(self) -> xr.Dataset:
        """Loss in nats per text under each condition."""
        return self.measurement("disruption")

    @cached_property
    def published_disruption(self) -> xr.Dataset:
        """The same as the study has it: each model's own massive channels, zeroed as projected."""
        return self.measurement("published_disruption")

    @cached_property
    def disruption_by_threshold(self) -> xr.Dataset:
        """The same for masks made at other lambdas, with one random control."""
        return self.measurement("disruption_by_threshold")

    @cached_property
    def effects(self) -> xr.Dataset:
        """What leaving the first token's MLP out did to its norm, to sinks and to entropies, per text."""
        return self.measurement("effects")

    @cached_property
    def finite(self) -> xr.DataArray:
        """Whether the residual stream after each block is finite in each text (text, layer)."""
        return finite_streams(self.observations)

    def counts(self, tensor: str) -> xr.DataArray:
        """Massive values per text and layer: entries with M > lambda * mean(M), lambda and the mean by the protocol.

        NaN where the stream is not finite.
        """
        return (
            self.observations["massive_count"]
            .sel(
                tensor=tensor,
                site=self.protocol.site,
                mean_over=self.protocol.mean_over,
                threshold=self.protocol.massive_threshold,
                drop=True,
            )
            .astype(float)
            .where(self.finite)
        )

    def rotary_counts(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Massive Query and Key values in the slower and the faster half of the rotary pairs (text, layer, tensor)."""
        seen, threshold = self.phenomena, self.protocol.massive_threshold
        if threshold == MASSIVE_THRESHOLD:  # counted by pair; older results have no more
            pairs = seen["rotary_count"].astype(float).where(self.finite)
            middle = pairs.sizes["pair"] // 2
            slow, fast = pairs.isel(pair=slice(middle, None)), pairs.isel(pair=slice(middle))
            return slow.sum("pair", skipna=False), fast.sum("pair", skipna=False)
        if "rotary_slow_count" not in seen:
            raise MissingMeasurement(f"of massive values by rotary pair at the threshold {threshold:g}")
        slow, fast = (_at(seen[f"rotary_{half}_count"], "threshold", threshold) for half in ("slow", "fast"))
        return slow.astype(float).where(self.finite), fast.astype(float).where(self.finite)

    def sink_scores(self, *, length: int | None = None, convention: str = "without_first_query") -> xr.DataArray:
        """Mean attention to key 0 per text, layer and head, over queries 1..length-1 (the protocol's length)."""
        chosen = self.protocol.sink_length if length is None else length
        return self.observations["sink_score"].sel(length=chosen, convention=convention, drop=True)

    def sink_rate(self) -> xr.DataArray:
        """Share of heads per text and layer whose sink score reaches tau, by the protocol; NaN stays NaN."""
        scores = self.sink_scores()
        return (scores >= self.protocol.sink_threshold).where(scores.notnull()).mean("head", skipna=False)

    @property
    def first_norm(self) -> xr.DataArray:
        """Norm of the first token's residual stream per text and depth, before the final norm."""
        return self.observations["first_norm"]

    @property
    def entropy_share(self) -> xr.DataArray:
        """Entropy of the representations as a share of its largest value, per text and depth: H / ln min(T, d)."""
        return self.observations["entropy"] / np.log(self.observations.attrs["rank_bound"])

    def nats(self, condition: str) -> xr.DataArray:
        """Mean loss per text under a condition; `random` averages the random controls first.

        Where the condition zeroes as many channels as are massive, lambda is the protocol's; at another than 5 there is
        one random control. Under the study's own protocol channels are zeroed as the study did.
        """
        threshold = self.protocol.massive_threshold if condition.startswith(DOSED) else MASSIVE_THRESHOLD
        if threshold != MASSIVE_THRESHOLD:
            losses = _at(self.disruption_by_threshold["nats"], "threshold", threshold)
        else:
            losses = (self.published_disruption if self.protocol.is_published else self.disruption)["nats"]
            if condition not in (*losses["condition"].values.tolist(), "random"):
                losses = self.measurement("ablation")["nats"]
        if condition != "random":
            return _at(losses, "condition", condition)
        chosen = [name for name in losses["condition"].values.tolist() if str(name).startswith("random")]
        return losses.sel(condition=chosen).mean("condition", skipna=False)

    def require_dose(self, threshold: float = MASSIVE_THRESHOLD) -> None:
        """Refuse to speak of massive values zeroed where the dose that `threshold` (lambda) gives is none.

        Raises
        ------
        Untestable
            When no channel is massive in both models on one half of the texts.
        """
        if threshold != MASSIVE_THRESHOLD:
            dose = _at(self.disruption_by_threshold["dose"], "threshold", threshold)
        else:
            dose = (self.published_disruption if self.protocol.is_published else self.disruption)["dose"]
        if not (dose.sum(["layer", "tensor"]) > 0).all():
            raise Untestable("no channel is massive in both models: none was zeroed")

    def registers(self, values: xr.DataArray) -> list[str]:
        """The register of each text of `values`, as `run.json` names it; older results have it before the id's dash."""
        told = (self.store.directory / "run.json").is_file()
        named = self.store.read_run().get("registers", {}) if told else {}
        return [named.get(id, id.rpartition("-")[0]) for id in map(str, values["text"].values)]

    def loss_without(self, part: str) -> xr.DataArray:
        """Loss increase (text, layer) with a part of each layer left out: a name of the atlas (`mlp`, `first`, ...)."""
        atlas = self.measurement("atlas")
        return _at(atlas["nats"], "condition", part) - atlas["undisturbed"]


def _at(values: xr.DataArray, dim: str, label: str | float) -> xr.DataArray:
    if label not in values[dim].values:
        raise MissingMeasurement(f"of the {dim} {label}")
    return values.sel({dim: label}, drop=True)
