"""Noise floor -> the effect that measuring again could make by itself, claim by claim.

The floor says how far each stored variable changed at most when the same cell was measured again. A claim is evaluated
a second and a third time on numbers moved by as much: one model's up and the other's down, and every second one up,
the others down. What that does to its contrast is the noise of the claim; no smaller effect is called supported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Literal

import numpy as np
import xarray as xr

from dropeact.estimators import Argmax, Conjunction, Estimate, Region
from dropeact.estimators.regions import at_least
from dropeact.measured import Measured
from dropeact.store import Store
from dropeact.verdicts.rule import Outcome

Pattern = Literal["by model", "alternating"]
PATTERNS: tuple[Pattern, ...] = ("by model", "alternating")


class Shifted(Store):
    """A store whose numbers are moved by the noise floor of their variable."""

    def __init__(self, store: Store, floors: Mapping[str, float], pattern: Pattern) -> None:
        super().__init__(store.directory)
        self.floors = floors
        self.pattern: Pattern = pattern

    def load(self, column: str, corpus: str, arm: str, measurement: str) -> xr.Dataset:
        """Both halves of a measurement, moved."""
        data = super().load(column, corpus, arm, measurement)
        up = 1.0 if column == "rope" else -1.0
        moved = {str(name): self.floors.get(f"absolute_{name}", 0.0) for name in data.data_vars}
        return data.assign(
            {
                name: (data[name].dims, data[name].values.astype(float) + up * floor * signs(data[name], self.pattern))
                for name, floor in moved.items()
                if floor > 0
            }
        )


@dataclass(frozen=True)
class Noise:
    """An effect beside the noise of measuring it; `label` names the part of a compound statement."""

    effect: float
    noise: float
    label: str = ""

    def __str__(self) -> str:
        what = f"{self.label}: " if self.label else ""
        return f"{what}an effect of {self.effect:.2g} is within the noise floor of {self.noise:.2g}"


def signs(values: xr.DataArray, pattern: Pattern) -> np.ndarray:
    """1 everywhere, or 1 and -1 by turns along every dimension but the texts, the same in every text."""
    if pattern == "by model":
        return np.ones(values.shape)
    places = np.indices([1 if name == "text" else size for name, size in values.sizes.items()]).sum(0)
    return np.broadcast_to(1.0 - 2.0 * (places % 2), values.shape)


def within_noise(
    outcome: Outcome, region: Region, measured: Measured, again: Callable[[Measured], Outcome]
) -> Noise | None:
    """The first effect of an outcome that the noise could make; None where every effect exceeds it.

    An effect is the distance |mean(a - c b)| from c, the value that means no difference. A region that holds c inside
    claims no effect.
    """
    claims = [part for part in parts(outcome, region) if not part[2].low < part[2].null < part[2].high]
    if not claims or not any(floor > 0 for floor in measured.noise.values()):
        return None
    moved = [parts(again(shifted), region) for shifted in _shiftings(measured)]
    for label, estimate, own in claims:
        effect = _center(estimate, own)
        others = [_center(e, r) for shifted in moved for name, e, r in shifted if name == label]
        noise = max((abs(other - effect) for other in others), default=inf)
        if abs(effect) <= noise and noise > 0:
            return Noise(abs(effect), noise, label)
    return None


@lru_cache(maxsize=2)  # the two protocols of a run; one view serves every claim, as the view that is moved does
def _shiftings(measured: Measured) -> list[Measured]:
    return shiftings(measured)


def shiftings(measured: Measured) -> list[Measured]:
    """The same view of numbers that the noise moved, one for each pattern."""
    return [
        Measured(Shifted(measured.store, measured.noise, pattern), measured.pair, measured.protocol)
        for pattern in PATTERNS
    ]


def parts(outcome: Outcome, region: Region) -> list[tuple[str, Estimate, Region]]:
    """Every estimate that must lie in its region for the claim to hold: an argmax's closest lead stands for all."""
    if isinstance(outcome, Conjunction):
        return [(part.label, part.estimate, part.region or region) for part in outcome.parts]
    if isinstance(outcome, Argmax):
        return [("", outcome.closest, at_least(0.0, "the winner leads"))]
    return [("", outcome, region)]


def _center(estimate: Estimate, region: Region) -> float:
    return float(estimate.contrast(region.null).mean())
