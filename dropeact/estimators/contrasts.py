"""Per-text contrasts: a mean, a paired difference, or a ratio of means -> estimate, interval and p-values.

All three are one construction. With numerators a_i and denominators b_i (b_i = 1 for a mean), the quantity is
theta = E[a] / E[b], and "theta > c" is "the contrast a_i - c b_i has a positive mean": a one-sample t-test, with no
logarithm, where zeros are harmless. The interval is the set of c that two one-sided tests at ALPHA leave standing
(Fieller 1954); it is unbounded where the denominator is not clear of zero.
"""

from dataclasses import dataclass
from functools import cached_property
from math import copysign, inf, isfinite, nan, sqrt

import numpy as np
import xarray as xr

from dropeact.estimators.outcomes import PValues, Untestable, remark
from dropeact.estimators.regions import Region, Scale
from dropeact.estimators.student import critical, tail

ALPHA = 0.025
LEVEL = 1 - 2 * ALPHA
RELATIVE_SPREAD = 1e-12  # below this a spread is rounding, not variation over texts


@dataclass(frozen=True)
class Estimate:
    """theta = mean(numerator) / mean(denominator), one entry per text, named by `ids`; `floor` is its noise floor."""

    numerator: np.ndarray
    denominator: np.ndarray
    scale: Scale
    unit: str
    floor: float = 0.0
    ids: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The point estimate, a ratio of means; infinite where the denominator is 0 in every text."""
        over, under = float(self.numerator.mean()), float(self.denominator.mean())
        return over / under if under else copysign(inf, over)

    @property
    def texts(self) -> int:
        """How many texts were measured."""
        return len(self.numerator)

    @property
    def n(self) -> int:
        """How many observations the estimate rests on: the texts, or 1 where it does not vary over texts."""
        return 1 if self.is_exact else self.texts

    @cached_property
    def is_exact(self) -> bool:
        """Whether the contrast at the estimate varies no more over the texts than the noise floor."""
        at = self.value if isfinite(self.value) else 0.0  # over 0 every contrast is the numerator
        return spread(self.contrast(at)) <= self._noise

    @property
    def _noise(self) -> float:
        return max(self.floor, RELATIVE_SPREAD * float(np.abs(self.numerator).max(initial=0.0)))

    def contrast(self, bound: float) -> np.ndarray:
        """The per-text contrast a_i - bound * b_i, whose mean is positive where theta > bound."""
        return self.numerator - bound * self.denominator

    def effect(self, bound: float) -> float:
        """Distance of theta from the bound in standard deviations over texts; NaN where there is no spread."""
        contrast = self.contrast(bound)
        deviation = spread(contrast)
        return float(contrast.mean()) / deviation if deviation > 0 else nan

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; (nan, nan) where exact, (-inf, inf) where the denominator may be zero."""
        if self.is_exact:
            return nan, nan
        return fieller(self.numerator, self.denominator)

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.interval[1]

    def tails(self, bound: float) -> tuple[float, float]:
        """One-sided p for theta > bound and for theta < bound; a contrast without spread is compared directly.

        Where a denominator is negative in some text, neither p is below that of a positive mean denominator: the sign
        of mean(a - c b) tells theta from c only then.
        """
        contrast = self.contrast(bound)
        center, deviation = float(contrast.mean()), spread(contrast)
        if self.is_exact or deviation <= self._noise:
            return float(center <= self._noise), float(center >= -self._noise)
        t = center / (deviation / sqrt(self.texts))
        above, below = tail(t, self.texts - 1), tail(-t, self.texts - 1)
        return max(above, self._sign), max(below, self._sign)

    @cached_property
    def _sign(self) -> float:
        """One-sided p for a positive mean denominator; 0 where no text has a negative one (counts, norms, means)."""
        if self.denominator.min() >= 0:
            return 0.0
        t = float(self.denominator.mean()) / (spread(self.denominator) / sqrt(self.texts))
        return tail(t, self.texts - 1)

    def p_values(self, region: Region) -> PValues:
        """Evidence for and against `region`: opposite tails of one test, or two one-sided tests for a margin.

        Raises
        ------
        ValueError
            If one of both is a ratio and the other is none: 0.95 of something is no difference of 0.95.
        """
        if "ratio" in {self.scale, region.scale} and self.scale != region.scale:
            raise ValueError(
                f"expected a {region.scale}, as the region declares; got a {self.scale}; "
                "return the other, or declare the region with its scale"
            )
        above, below = self.tails(region.low)[0] if region.low > -inf else 0.0, 0.0
        if region.high < inf:
            below = self.tails(region.high)[1]
        support = max(above, below)
        outside = [self.tails(region.low)[1]] if region.low > -inf else []
        outside += [self.tails(region.high)[0]] if region.high < inf else []
        return PValues(support, min(1.0, len(outside) * min(outside)))


def spread(values: np.ndarray) -> float:
    """Sample standard deviation (n - 1); 0 for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def mean_and_half_width(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over texts and half the width of its 95 % interval, t(0.975, n - 1) s / sqrt(n); other dims are kept."""
    n = values.sizes["text"]
    error = values.std("text", ddof=1) / np.sqrt(n) * critical(ALPHA, n - 1)
    return values.mean("text").values, error.values


def fieller(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float]:
    """The set of c with |mean(a - c b)| <= t * se(a - c b), an interval where mean(b) is clear of zero.

    References
    ----------
    Fieller (1954), Some problems in interval estimation, J. R. Stat. Soc. B 16.
    """
    n, b = len(numerator), float(denominator.mean())
    if b == 0:
        return -inf, inf
    center = float(numerator.mean()) / b
    residual = numerator - center * denominator  # its mean is 0: solving for c - center cancels no digits
    covariance = np.cov(residual, denominator) * critical(ALPHA, n - 1) ** 2 / n
    quadratic = b * b - covariance[1, 1]
    if quadratic <= 0:
        return -inf, inf
    root = sqrt(covariance[0, 1] ** 2 + quadratic * covariance[0, 0])
    return center - (covariance[0, 1] + root) / quadratic, center - (covariance[0, 1] - root) / quadratic


def mean(values: xr.DataArray, *, scale: Scale = "rate", unit: str, floor: float = 0.0) -> Estimate:
    """Mean over texts of one number per text."""
    per_text = one_per_text(values)
    return Estimate(per_text, np.ones_like(per_text), scale, unit, floor, names(values))


def difference(drope: xr.DataArray, rope: xr.DataArray, *, unit: str, floor: float = 0.0) -> Estimate:
    """Mean over texts of the paired difference drope - rope."""
    first, second = paired(drope, rope)
    return Estimate(first - second, np.ones_like(first), "difference", unit, floor, names(drope))


def ratio(drope: xr.DataArray, rope: xr.DataArray, *, unit: str = "ratio", floor: float = 0.0) -> Estimate:
    """Ratio of the means over texts, mean(drope) / mean(rope), paired by text.

    A denominator of 0 in every text is tested as any other: something is more than any multiple of nothing.

    Raises
    ------
    Untestable
        If the denominator's mean is negative, or 0 beside a numerator of 0 or one of both signs: then "greater than c"
        has no meaning as a contrast.
    """
    first, second = paired(drope, rope)
    nothing = not second.any()
    undirected = not first.any() or first.min() < 0 < first.max()
    if second.mean() < 0 or (second.mean() == 0 and not nothing) or (nothing and undirected):
        raise Untestable(f"the denominator of the ratio has mean {second.mean():.3g}, which is not positive")
    if nothing:
        remark("The denominator is 0 in every text: no ratio is printed")
    return Estimate(first, second, "ratio", unit, floor, names(drope))


def exact(value: float, *, scale: Scale, unit: str) -> Estimate:
    """A number that does not vary over texts: compared with the region directly, n = 1, no interval."""
    if not np.isfinite(value):
        raise Untestable(f"the measured value is {value}")
    return Estimate(np.array([value], float), np.ones(1), scale, unit)


def names(values: xr.DataArray) -> tuple[str, ...]:
    """The ids of the texts; none where they are only counted."""
    return tuple(map(str, values["text"].values)) if "text" in values.coords else ()


def one_per_text(values: xr.DataArray) -> np.ndarray:
    """Check that the text is the only unit left (seeds, heads and layers are averaged first) and nothing is NaN."""
    if values.dims != ("text",):
        raise ValueError(
            f"expected one number per text; got dims {values.dims}; the text is the unit: average the others first"
        )
    if values.dtype == bool:
        raise ValueError("expected one number per text; got true or false; items.mean(x.astype(float)) judges those")
    ids = values["text"].values if "text" in values.coords else np.arange(values.size)
    if values.size < 2:
        raise Untestable(f"{values.size} text: how the quantity varies over texts is unknown")
    if len(set(ids.tolist())) != values.size:
        raise ValueError("expected distinct texts; got repeated text ids; average repeats (seeds) first")
    if not np.isfinite(values.values).all():
        bad = ", ".join(str(name) for name in ids[~np.isfinite(values.values)][:3])
        raise Untestable(f"not a finite number for text {bad}")
    return values.values.astype(float)


def paired(first: xr.DataArray, second: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of one number per text, in the same order of the same texts."""
    if set(first["text"].values.tolist()) != set(second["text"].values.tolist()):
        raise ValueError("expected the same texts on both sides; got different ones; measure both models on one corpus")
    alike = np.array_equal(first["text"].values, second["text"].values)
    return one_per_text(first), one_per_text(second if alike else second.sel(text=first["text"]))
