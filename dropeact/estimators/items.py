"""Items that were answered right or wrong -> rate, change or ratio, judged by what such answers could have been.

Where nearly all items agree, a sample spreads less than its kind does: of 100 items of which 0.10 are right, 5 or fewer
are in 6 % of the samples, and Student's t calls each of these below 0.10 at 2.5 %. So the evidence here is the weaker
of t and a score test, which takes the spread of the distribution nearest to the answers that has theta on the bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import inf, isfinite, sqrt

import numpy as np
import xarray as xr
from scipy import optimize

from dropeact.estimators import accuracy, contrasts
from dropeact.estimators.accuracy import Bounded
from dropeact.estimators.contrasts import ALPHA, Estimate, spread
from dropeact.estimators.power import POWER, fewest
from dropeact.estimators.regions import Scale
from dropeact.estimators.student import critical, normal_critical, tail

FAR = 1e6  # a ratio that nothing short of this excludes has no upper end
OPEN = 1 - 1e-12  # of the largest tilt: at the largest itself an item that disagrees weighs without limit


@dataclass(frozen=True)
class Items(Estimate):
    """An estimate over items; an item that disagrees has `least` over 1, or `most` over `fewest`, at the farthest."""

    least: float = 0.0
    most: float = 1.0
    fewest: float = 1.0

    @cached_property
    def is_exact(self) -> bool:
        """Never: an item is a draw, and the next one may differ where all of these agree."""
        return False

    @cached_property
    def interval(self) -> tuple[float, float]:
        """What one of both tests leaves standing at 95 %, as far as items can go.

        Fieller's interval and the score test's: of a rate Wilson's (1927), of a change Tango's (1998), by Student's t.
        """
        low, high = super().interval
        if not isfinite(self.value):
            return low, high
        low = max(self.least, min(low, self._end(self.least, up=True)))
        high = max(high, self._end(self._top, up=False))
        return low, min(high, self._top) if self.fewest else high

    def tails(self, bound: float) -> tuple[float, float]:
        """One-sided p for theta > bound and for theta < bound, the larger of both tests."""
        above, below = super().tails(bound)
        return max(above, self._score(bound, up=True)), max(below, self._score(bound, up=False))

    def effect(self, bound: float) -> float:
        """Distance of theta from the bound in standard deviations over items, the smaller of both tests."""
        contrast = self.contrast(bound)
        center, reach = float(contrast.mean()), self._reach(bound, up=float(contrast.mean()) > 0)
        by_t = super().effect(bound)
        if center == 0 or reach <= 0:
            return by_t
        by_score = center / sqrt(null_variance(np.sign(center) * contrast, reach))
        return by_score if np.isnan(by_t) or abs(by_score) < abs(by_t) else by_t

    def deciding(self, bound: float, tests: int) -> int | None:
        """How many items with these shares decide in four samples of five, at the strictest of so many tests.

        sqrt(n) |mean(d)| >= t s_0 + z s, s_0 the larger spread of both tests and s that of these items.
        """
        contrast, effect = self.contrast(bound), abs(self.effect(bound))
        if not 0 < effect < inf:
            return None
        center, own = abs(float(contrast.mean())), normal_critical(1 - POWER) * spread(contrast)
        return fewest(lambda n: center * sqrt(n) >= critical(ALPHA / tests, n - 1) * center / effect + own)

    def _score(self, bound: float, *, up: bool) -> float:
        """One-sided p of sqrt(n) mean(d) / sqrt(v), d the contrast and v its variance with theta on the bound.

        0.5 where the mean has the other sign (t says no less), 0 where no item could speak against theta.
        """
        contrast = self.contrast(bound) if up else -self.contrast(bound)
        center, reach = float(contrast.mean()), self._reach(bound, up=up)
        if center <= 0:
            return 0.5
        return tail(center * sqrt(self.texts / null_variance(contrast, reach)), self.texts - 1) if reach > 0 else 0.0

    def _reach(self, bound: float, *, up: bool) -> float:
        """How far below 0 the contrast of an item can lie that speaks against theta > bound, or theta < bound."""
        return bound - self.least if up else self.most - bound * self.fewest

    @cached_property
    def _top(self) -> float:
        """The largest theta that items can have; of a ratio, the first that is excluded of 1, 2, 4, ..., if any."""
        if self.fewest:
            return self.most / self.fewest
        top = max(1.0, self.value)
        while top < FAR and self._score(top, up=False) > ALPHA:
            top *= 2
        return top if top < FAR else inf

    def _end(self, limit: float, *, up: bool) -> float:
        """Where the score test begins to exclude theta, between the estimate and the limit."""
        if not isfinite(limit) or (limit >= self.value if up else limit <= self.value):
            return limit
        return _zero(lambda bound: self._score(bound, up=up) - ALPHA, limit, self.value)


def null_variance(contrast: np.ndarray, reach: float) -> float:
    """Variance of the distribution of mean 0 nearest to n values of a positive mean, of which none can be below -reach.

    Nearest: it makes these values most probable, w_i = 1 / (n (1 + lambda d_i)) with sum w_i d_i = 0 (Owen 1988). Where
    negative values are too few for it, the rest of the weight lies on -reach. Of right (1) and wrong (0) minus a rate p
    it is p (1 - p).

    References
    ----------
    Owen (1988), Empirical likelihood ratio confidence intervals for a single functional, Biometrika 75.
    Tango (1998), Equivalence test and confidence interval for the difference in proportions, Stat. Med. 17.
    """
    reach = max(reach, -float(contrast.min()))

    def mean_at(tilt: float) -> float:
        return float((contrast / (1 + tilt * contrast)).mean())

    largest = OPEN / reach
    tilt = largest if mean_at(largest) > 0 else _zero(mean_at, 0.0, largest)
    weights = 1 / (len(contrast) * (1 + tilt * contrast))
    return float((weights * contrast**2).sum() + max(0.0, 1 - weights.sum()) * reach**2)


def _zero(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function that changes its sign between two ends is 0, by Brent's method."""
    return float(optimize.root_scalar(function, bracket=(low, high), xtol=1e-14).root)


def mean(right: xr.DataArray, *, unit: str, scale: Scale = "rate", chance: float = 0.0) -> Items:
    """Mean over items of right (1) or wrong (0), or shares of several answers, minus chance."""
    found = contrasts.mean(right - chance, scale=scale, unit=unit)
    return _of(found, least=0.0 - chance, most=1 - chance)


def difference(after: xr.DataArray, before: xr.DataArray, *, unit: str) -> Items:
    """Mean over items of right in one way minus right in another."""
    return _of(contrasts.difference(after, before, unit=unit), least=-1.0, most=1.0)


def combined(parts: Sequence[tuple[float, Bounded]], *, unit: str) -> Items:
    """sum_g weight_g mean(values_g) over groups of different items; `accuracy.combined` per item."""
    found = contrasts.mean(accuracy.combined([(w, part.values) for w, part in parts]), scale="difference", unit=unit)
    ends = []
    for weight, part in parts:
        heavier, center = weight * found.texts / part.values.sizes["text"], float(part.values.mean())
        ends += [heavier * (end - center) for end in (part.least, part.most)]
    return _of(found, least=found.value + min(ends), most=found.value + max(ends))


def average(changes: Mapping[str, xr.DataArray], *, farthest: float, unit: str) -> Items:
    """Mean over tasks of each task's mean change, none of an item beyond -+`farthest`."""
    return combined([(1 / len(changes), Bounded(own, -farthest, farthest)) for own in changes.values()], unit=unit)


def ratio(after: xr.DataArray, before: xr.DataArray) -> Items:
    """Items right in one way / items right in another."""
    return _of(contrasts.ratio(after, before), least=0.0, most=1.0, fewest=0.0)


def _of(estimate: Estimate, *, least: float, most: float, fewest: float = 1.0) -> Items:
    held = {field.name: getattr(estimate, field.name) for field in fields(Estimate)}
    return Items(**held, least=least, most=most, fewest=fewest)
