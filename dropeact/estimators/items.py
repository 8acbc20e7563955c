"""Items that were answered right or wrong -> rate, change or ratio, judged with care where all of them agree.

Where answers differ, these are the estimates of `contrasts`. Where all agree, the next one may still differ: that no
number was found in 10 prompts does not say that none is found. A share q of all items that disagree goes unseen in n
with probability (1 - q)^n; evidence and interval follow from the smallest share, at its farthest, that would matter.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf, log

import xarray as xr

from dropeact.estimators import contrasts
from dropeact.estimators.contrasts import ALPHA, Estimate
from dropeact.estimators.regions import Region, Scale


@dataclass(frozen=True)
class Items(Estimate):
    """An estimate over items; an item that disagrees has `least` over 1, or `most` over `fewest`, at the farthest."""

    least: float = 0.0
    most: float = 1.0
    fewest: float = 1.0

    @cached_property
    def is_exact(self) -> bool:
        """Never: an item is a draw."""
        return False

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; where all items agree, what the shares that 1 in 40 samples would miss could make of it.

        Of a rate it is Clopper's and Pearson's: 0 of n gives 1 - 0.025^(1/n).
        """
        if not self.is_constant:
            return super().interval
        unseen = 1 - ALPHA ** (1 / self.texts)
        return self._with(unseen, self.least, 1.0), self._with(unseen, self.most, self.fewest)

    def _with(self, share: float, over: float, under: float) -> float:
        """Theta if a share of all items had `over` and `under` for what these have."""
        whole = (1 - share) * float(self.denominator.mean()) + share * under
        return ((1 - share) * float(self.numerator.mean()) + share * over) / whole if whole else inf

    def tails(self, bound: float) -> tuple[float, float]:
        """One-sided p for theta > bound and for theta < bound."""
        above, below = super().tails(bound)
        if not self.is_constant:
            return above, below
        return max(above, self._chance_of_all(bound, up=True)), max(below, self._chance_of_all(bound, up=False))

    def deciding(self, region: Region, tests: int) -> int | None:
        """How many items that all agree like these would decide at the strictest of so many tests; None: no number."""
        bounds = [bound for bound in (region.low, region.high) if abs(bound) < inf]
        sides = [(bound, float(self.contrast(bound).mean()) > 0) for bound in bounds]
        chances = [self._chance_of_all(bound, up=up) ** (1 / self.texts) for bound, up in sides]
        slowest = max(chances)
        return None if slowest >= 1 else 1 if slowest == 0 else ceil(log(ALPHA / tests) / log(slowest))

    def _chance_of_all(self, bound: float, *, up: bool) -> float:
        """Probability that all items agree as these do although theta is on the bound: (reach / (center + reach))^n.

        Of a ratio the mean of the denominators is taken as known; how it varies is in the t-test, which counts, too.
        """
        center = float(self.contrast(bound).mean())
        ahead, reach = (center, bound - self.least) if up else (-center, self.most - bound * self.fewest)
        return 1.0 if ahead <= 0 else (max(reach, 0.0) / (ahead + max(reach, 0.0))) ** self.texts


def mean(right: xr.DataArray, *, unit: str, scale: Scale = "rate", chance: float = 0.0) -> Items:
    """Mean over items of right (1) or wrong (0), or shares of several answers, minus chance."""
    found = contrasts.mean(right - chance, scale=scale, unit=unit)
    return _of(found, least=-chance, most=1 - chance)


def difference(after: xr.DataArray, before: xr.DataArray, *, unit: str) -> Items:
    """Mean over items of right in one way minus right in another."""
    return _of(contrasts.difference(after, before, unit=unit), least=-1.0, most=1.0)


def ratio(after: xr.DataArray, before: xr.DataArray) -> Items:
    """Items right in one way / items right in another."""
    return _of(contrasts.ratio(after, before), least=0.0, most=1.0, fewest=0.0)


def _of(estimate: Estimate, *, least: float, most: float, fewest: float = 1.0) -> Items:
    parts = (estimate.numerator, estimate.denominator, estimate.scale, estimate.unit, estimate.floor)
    return Items(*parts, least, most, fewest)
