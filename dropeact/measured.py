"""Stored measurements of one pair as a claim sees them: its models, the write layer, the noise floor."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from dropeact.axes import HALVES, NotApplicable, other_half
from dropeact.one_model import CACHED, HARNESS, HARNESS_ARM, MissingMeasurement, Model
from dropeact.pairs import Pair, from_dict
from dropeact.protocol import Protocol
from dropeact.store import Store

__all__ = [
    "HARNESS",
    "HARNESS_ARM",
    "Measured",
    "MissingMeasurement",
    "Model",
    "Protocol",
    "natural",
    "of_run",
    "replication",
    "write_layer",
]


class Measured:
    """The RoPE, just-dropped and DroPE models of one pair, read under one protocol."""

    def __init__(self, store: Store, pair: Pair, protocol: Protocol) -> None:
        self.store, self.pair, self.protocol = store, pair, protocol
        self.rope = Model("rope", protocol, store)
        self.dropped = Model("dropped", protocol, store)
        self.drope = Model("drope", protocol, store)

    def under(self, protocol: Protocol) -> "Measured":
        """The same measurements under another protocol; what was read of the same texts is not read again."""
        other = Measured(self.store, self.pair, protocol)
        if (protocol.corpus, protocol.arm) == (self.protocol.corpus, self.protocol.arm):
            for own, shared in ((other.rope, self.rope), (other.dropped, self.dropped), (other.drope, self.drope)):
                own.__dict__.update({name: shared.__dict__[name] for name in CACHED if name in shared.__dict__})
        if "write_layers" in self.__dict__:  # w is declared on the primary arm
            other.__dict__["write_layers"] = self.write_layers
        return other

    @property
    def models(self) -> dict[str, Model]:
        """The two models that claims compare, by the name a reader sees."""
        return {"RoPE": self.rope, "DroPE": self.drope}

    @property
    def columns(self) -> list[Model]:
        """All three models in the order in which they are shown."""
        return [self.rope, self.dropped, self.drope]

    def having(self, measurement: str) -> list[tuple[Model, xr.Dataset]]:
        """Every model that has a measurement, and what it is."""
        found = []
        for model in self.columns:
            with suppress(MissingMeasurement):
                found.append((model, model.measurement(measurement)))
        return found

    @cached_property
    def write_layers(self) -> dict[str, int]:
        """The write layer to use for the texts of each half: selected on the other half, or literal if published."""
        if self.pair.write_layer is not None:
            return dict.fromkeys(HALVES, self.pair.write_layer)
        norm = self.rope.first_norm
        if not np.isfinite(norm.values).all() or set(norm["half"].values.tolist()) != set(HALVES):
            raise MissingMeasurement("of the first token's norm: a finite number for every text of both halves")
        return {half: write_layer(norm.isel(text=norm["half"].values == other_half(half))) for half in HALVES}

    @property
    def recalibration_tokens(self) -> int | None:
        """How many tokens the DroPE model was recalibrated on, where its checkpoint says so."""
        if not (self.store.directory / "run.json").is_file():
            return None
        adapter = self.store.read_run()["checkpoints"]["drope"].get("adapter") or {}
        return adapter.get("tokens")

    def at_write(self, values: xr.DataArray) -> xr.DataArray:
        """`values` (text, layer) at the write layer."""
        return self._per_half(values, lambda w: [w])

    def before_write(self, values: xr.DataArray) -> xr.DataArray:
        """Mean of `values` over the layers before the write layer.

        Raises
        ------
        NotApplicable
            When the first layer is the one that writes.
        """
        if 0 in self.write_layers.values():
            raise NotApplicable("the first layer writes the first token's norm: none lies before it")
        return self._per_half(values, lambda w: list(range(w)))

    def up_to_write(self, values: xr.DataArray) -> xr.DataArray:
        """Mean of `values` over the layers before and at the write layer."""
        return self._per_half(values, lambda w: list(range(w + 1)))

    def after_write(self, values: xr.DataArray) -> xr.DataArray:
        """Mean of `values` over the layers after the write layer."""
        return self._per_half(values, lambda w: list(range(w + 1, values.sizes["layer"])))

    def _per_half(self, values: xr.DataArray, layers: Callable[[int], list[int]]) -> xr.DataArray:
        """Mean over some layers, others in each half: of bare variables, since strips ask for it hundreds of times."""
        own, labels = values["half"].values, values.indexes["layer"]
        if not set(own.tolist()) <= set(HALVES):
            raise KeyError(f"expected texts of the halves {', '.join(HALVES)}; got {', '.join(sorted(set(own)))}")
        texts = {half: np.flatnonzero(own == half) for half in HALVES}
        places = {half: [labels.get_loc(layer) for layer in layers(self.write_layers[half])] for half in HALVES}
        parts = {
            half: values.variable.isel(text=texts[half]).isel(layer=places[half]).mean("layer", skipna=False)
            for half in HALVES
        }
        like = values.isel(layer=0, drop=True)
        joined = xr.Variable(like.dims, np.empty(like.shape, parts[HALVES[0]].dtype))
        for half, part in parts.items():
            joined[{"text": texts[half]}] = part
        return like.copy(data=joined.values)

    @cached_property
    def noise(self) -> Mapping[str, float]:
        """Noise floor per variable: the largest absolute change when the same cell is measured again.

        What bfloat16 changes counts only where the run was not in float32.
        """
        return self._floors("noise-phenomena") | self._floors("noise-floor")

    def _floors(self, measurement: str) -> dict[str, float]:
        try:
            floor = self.rope.measurement(measurement, corpus="passages")
        except MissingMeasurement:
            return {}
        kinds = floor["comparison"].values.tolist()
        decisive = [kind for kind in kinds if kind != "precision" or self.store.read_run()["dtype"] != "float32"]
        return {str(name): float(v.sel(comparison=decisive).max()) for name, v in floor.data_vars.items()}

    def floor(self, variable: str) -> float:
        """The noise floor of a variable; 0 where none was measured."""
        return self.noise.get(f"absolute_{variable}", 0.0)


def write_layer(first_norm: xr.DataArray) -> int:
    """The layer that writes the first token's norm, from (text, depth) of the RoPE model.

    w = argmax over l <= L/2 of the mean over texts of |x_0 after block l| - |x_0 before block l|
    """
    written = first_norm.mean("text", skipna=False).diff("depth").values
    return int(np.argmax(written[: len(written) // 2 + 1]))


def natural(store: Store, pair: Pair, *, arm: str | None = None) -> Measured:
    """The declared protocol of this suite: natural passages, the primary arm, Q and K as attended."""
    return Measured(store, pair, Protocol(arm=arm or pair.primary_arm))


def of_run(store: Store, run: Mapping[str, Any]) -> Measured:
    """What a run measured, under the declared protocol and in its own arm; `run` is what run.json holds."""
    return natural(store, from_dict(run["pair"]), arm=run["arm"])


def replication(store: Store, pair: Pair, *, arm: str | None = None) -> Measured:
    """The study's protocol without its bugs: repeated sentences, Q and K as projected, zeroing."""
    return Measured(store, pair, Protocol("repeated", arm or pair.primary_arm, "projected"))
