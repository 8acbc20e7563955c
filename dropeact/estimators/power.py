"""What a sample could show: the smallest effect at 80 % power, and how many texts would decide."""

from collections.abc import Callable
from functools import lru_cache
from math import isnan, sqrt

import numpy as np
from scipy import special

from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.student import critical

POWER = 0.8
PRECISION = 1e-12  # of the smallest effect, relative
NO_NUMBER = 100_000  # beyond this many texts we say that no number would decide
FLIPS = 20_000
EXACT_FLIPS = 16


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """Power of the one-sided one-sample t-test for a mean of `effect` standard deviations and n texts."""
    missed = float(special.nctdtr(n - 1, effect * sqrt(n), critical(alpha, n - 1)))
    return 1.0 if isnan(missed) else 1.0 - missed  # the series gives no number only where hardly anything is missed


def chance(effect: float, n: int, alpha: float, halves: int) -> float:
    """Power where each of `halves` parts of n texts is a test and any decides: 1 - (1 - power(n / h, alpha / h))^h."""
    return 1.0 - (1.0 - power(effect, n // halves, alpha / halves)) ** halves


@lru_cache
def smallest_effect(n: int, family: int = 1, *, halves: int = 1) -> float:
    """Smallest mean, in standard deviations, that n texts show with 80 % power at Holm's strictest step.

    n = 32 alone: 0.51; in a family of 8: 0.67.
    """
    low, high = 0.0, 1.0
    while chance(high, n, ALPHA / family, halves) < POWER:
        low, high = high, high * 2
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle, n, ALPHA / family, halves) < POWER else (low, middle)
    return high


def deciding_texts(effect: float, family: int = 1, *, halves: int = 1) -> int | None:
    """How many texts give 80 % power at `effect` standard deviations; None where no number would.

    Where each of `halves` parts of them is a test and any decides, they are those of all parts together.
    """
    effect = abs(effect)
    if not np.isfinite(effect) or effect == 0.0:
        return None
    return fewest(lambda n: chance(effect, n, ALPHA / family, halves) >= POWER, halves=halves)


def fewest(decide: Callable[[int], bool], *, halves: int = 1) -> int | None:
    """The smallest number, a multiple of `halves`, that decides when every larger one does; None beyond 100,000."""
    low, high = 2, 4  # of each half
    while not decide(halves * high):
        low, high = high, high * 2
        if halves * high > NO_NUMBER:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decide(halves * middle) else (middle, high)
    return halves * high


@lru_cache
def _signs(n: int) -> np.ndarray:
    if n <= EXACT_FLIPS:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(FLIPS, n))


def sign_flip(contrast: np.ndarray) -> float:
    """One-sided sign-flip p of a positive mean: exact to n = 16, else 20,000 random flips; printed, decides nothing."""
    sums = _signs(len(contrast)) @ contrast
    reached = int((sums >= contrast.sum() - 1e-12 * np.abs(contrast).sum()).sum())
    return reached / len(sums) if len(contrast) <= EXACT_FLIPS else (reached + 1) / (len(sums) + 1)


def skewness(contrast: np.ndarray) -> float:
    """Sample skewness of the contrast, m_3 / m_2^1.5; 0 where it has no spread. Beyond 1 the report flags it."""
    if len(contrast) <= 2 or contrast.std() == 0:
        return 0.0
    apart = contrast - contrast.mean()
    return float((apart**2 * apart).mean() / (apart**2).mean() ** 1.5)
