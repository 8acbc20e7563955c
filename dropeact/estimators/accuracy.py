"""Right and wrong answers -> accuracies with fixed denominators, what an intervention takes of them, and their limits.

A task counts only where its undisturbed accuracy is clear of chance; every item that was asked stays in the
denominator, whatever the answer looked like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np
import xarray as xr

from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.outcomes import Untestable
from dropeact.estimators.regions import MORE_RATE
from dropeact.estimators.student import normal_critical

CHANCE = 0.5
CLEAR = 2.0  # standard errors above chance
FOUND = 0.10  # a generation task counts where the lower Wilson bound of exact match reaches this
CLEARLY_FIRST = 10.0  # a first token this many times larger than the others has a norm to lose
STILL_FIRST = 3.0  # a first token this many times larger than the others has kept its norm


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate over n items.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22.
    """
    z = normal_critical(ALPHA)
    center, half = rate + z * z / (2 * n), z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return (center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)


def task_items(scores: xr.DataArray, task: str, expected: int) -> xr.DataArray:
    """The items of one task as float, one number each.

    Raises
    ------
    Untestable
        When not every item of the task is there, right (1) or wrong (0): a dropped answer would have been a wrong one.
    """
    chosen = scores.isel(text=np.flatnonzero(scores["task"].values == task)).astype(float)
    answered = int(np.isin(chosen.values, (0.0, 1.0)).sum())
    if chosen.sizes["text"] != expected or answered != expected:
        raise Untestable(f"{task}: {answered} of {expected} items have a score; the denominator is all of them")
    return chosen


def require_above_chance(correct: xr.DataArray, name: str, *, chance: float = CHANCE) -> None:
    """Pass where accuracy exceeds chance by two standard errors, sqrt(chance (1 - chance) / n) each.

    Raises
    ------
    Untestable
        Naming the accuracy, where it does not.
    """
    n, accuracy = correct.sizes["text"], float(correct.mean())
    if accuracy < chance + CLEAR * sqrt(chance * (1 - chance) / n):
        raise Untestable(f"{name}: baseline accuracy {accuracy:.2f} of {n} items is at chance ({chance:g})")


def require_found(exact: xr.DataArray, name: str) -> None:
    """Pass where the lower Wilson bound of the exact-match rate reaches 0.10.

    Raises
    ------
    Untestable
        Naming the rate, where it does not.
    """
    n, rate = exact.sizes["text"], float(exact.mean())
    low = wilson(rate, n)[0]
    if low < FOUND:
        raise Untestable(f"{name}: baseline exact match {rate:.2f} of {n} items, lower bound {low:.2f} < {FOUND:g}")


def require_removed(checks: xr.Dataset, condition: str, name: str) -> None:
    """Pass where an intervention took the first token's norm away and the sinks fell by 0.05 or more, in both halves.

    Raises
    ------
    Untestable
        When `require_norm_removed` does, or the sink rate did not fall that far.
    """
    require_norm_removed(checks, condition, name)
    after, before = (checks["sink_rate"].sel(condition=which) for which in (condition, "baseline"))
    if not (before - after >= MORE_RATE).all():
        raise Untestable(f"{name}: the sink rate did not fall with the first token's norm")


def require_norm_removed(checks: xr.Dataset, condition: str, name: str) -> None:
    """Pass where the norm was there at the layer of the intervention and the intervention took it, in both halves.

    A model that writes its norm at another layer keeps it: an intervention at this one removes nothing, and shows
    nothing. `largest_ratio` is looked at where the layers above were measured; a norm may grow again there.

    Raises
    ------
    Untestable
        When the first token, undisturbed, is less than 10 times as large as the others; or, disturbed, still 3 times;
        or keeps more than half of its largest ratio at some layer above.
    """
    there, left = (checks["first_ratio"].sel(condition=which).values for which in ("baseline", condition))
    if not (there >= CLEARLY_FIRST).all():
        raise Untestable(
            f"{name}: no norm to remove at this layer, the first token's is {there.min():.1f} times the others'"
        )
    if not (left < STILL_FIRST).all():
        raise Untestable(
            f"{name}: the first token's norm was not removed, it is still {left.max():.1f} times the others'"
        )
    if "largest_ratio" in checks:
        before, after = (checks["largest_ratio"].sel(condition=which).values for which in ("baseline", condition))
        if not (after <= before / 2).all():
            raise Untestable(
                f"{name}: the first token's norm is written again above, {after.max():.1f} times the others'"
            )


@dataclass(frozen=True)
class Bounded:
    """One value per item, and the least and the most that any item could have."""

    values: xr.DataArray
    least: float
    most: float

    def __sub__(self, other: "Bounded") -> "Bounded":
        return Bounded(self.values - other.values, self.least - other.most, self.most - other.least)


def lost_share(before: xr.DataArray, after: xr.DataArray, *, chance: float) -> Bounded:
    """Share of the accuracy above chance that is lost, as one value per item whose mean it is.

    R = 1 - (mean(after) - chance) / (mean(before) - chance); item i has
    R - [(a_i - mean(a)) - (1 - R)(b_i - mean(b))] / (mean(b) - chance), the linearised ratio, so that the spread over
    items gives the standard error of R. Either answer lies between wrong (0) and right (1).
    """
    first, second = float(before.mean()), float(after.mean())
    left = (second - chance) / (first - chance)

    def linearised(b, a):  # of an item, or of all
        return (1 - left) - ((a - second) - left * (b - first)) / (first - chance)

    ends = [linearised(b, a) for b, a in product((0.0, 1.0), repeat=2)]
    return Bounded(linearised(before, after), min(ends), max(ends))


def combined(parts: Sequence[tuple[float, xr.DataArray]]) -> xr.DataArray:
    """sum_g weight_g mean(values_g) over groups of different items, as one value per item whose mean it is.

    item i of group g: T + weight_g (N / n_g) (v_i - mean(v_g)), N = sum_g n_g: the spread over all items gives the
    standard error sqrt(sum_g weight_g^2 s_g^2 / n_g) of independent groups.
    """
    total = sum(weight * float(values.mean()) for weight, values in parts)
    size = sum(values.sizes["text"] for _, values in parts)
    centred = [weight * size / values.sizes["text"] * (values - values.mean()) for weight, values in parts]
    bare = [values.reset_coords(drop=True).assign_coords(text=values["text"].values) for values in centred]
    return xr.concat(bare, "text", coords="minimal", compat="override") + total


def average(groups: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """The mean over groups of each group's mean, as one value per item."""
    return combined([(1 / len(groups), values) for values in groups.values()])
