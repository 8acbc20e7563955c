"""The verdict rule: Holm over the family, then the smaller side names the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf, isnan
from typing import Literal

import numpy as np

from dropeact.estimators import Argmax, Conjunction, Estimate, PValues, Region
from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.items import Items
from dropeact.estimators.power import NO_NUMBER, deciding_texts, smallest_effect

FALLS_SHORT = "effect too small"  # of an effect that goes the way of the statement, only not as far
Verdict = Literal["supported", "contradicted", "inconclusive", "untestable", "not applicable", "not measured"]
Outcome = Estimate | Conjunction | Argmax


def holm(p: Sequence[float], size: int | None = None) -> np.ndarray:
    """Holm's step-down adjustment of p within a family of `size` records (absent ones count as p = 1).

    adjusted_(i) = max_{j <= i} min(1, (size - j) p_(j)), j = 0, 1, ... over the sorted p.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6.
    """
    values = np.asarray(p, float)
    size = max(len(values), size or 0)
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1.0, (size - np.arange(len(values))) * values[order])
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def decide(p: PValues, adjusted: float, *, untested: bool = False) -> Verdict:
    """Name the verdict from the adjusted smaller p and the side that it belongs to; with untested parts none holds."""
    if adjusted > ALPHA:
        return "untestable" if untested else "inconclusive"
    return "supported" if p.support < p.contradict else "contradicted"


@dataclass(frozen=True)
class Shown:
    """The numbers that stand beside a verdict, and the region that they are compared with."""

    value: float
    low: float
    high: float
    n: int
    unit: str
    label: str
    exact: bool
    region: Region


def shown(outcome: Outcome, region: Region) -> Shown:
    """The estimate a reader sees: the quantity itself, a conjunction's weakest part, an argmax's closest lead."""
    label, estimate = "", outcome
    if isinstance(outcome, Conjunction):
        part = outcome.weakest(region)
        label, estimate, region = part.label, part.estimate, part.region or region
    elif isinstance(outcome, Argmax):
        label, estimate = outcome.found, outcome.closest
    assert isinstance(estimate, Estimate)
    ends = (estimate.value, estimate.low, estimate.high)
    return Shown(*ends, estimate.n, estimate.unit, label, is_exact(outcome), region)


def is_exact(outcome: Outcome) -> bool:
    """Whether nothing in the outcome varies over texts: such records are compared directly, outside the family."""
    if isinstance(outcome, Estimate):
        return outcome.is_exact
    if isinstance(outcome, Conjunction):
        return all(part.estimate.is_exact for part in outcome.parts)
    return all(estimate.is_exact for estimate in (*outcome.rivals.values(), *outcome.challenge.values()))


def why_contradicted(outcome: Outcome, region: Region) -> str:
    """Say how a contradicted claim fails: opposite (all its interval is), too small or large, outside the margin.

    An effect is too small where it goes the way of the statement and not as far; a quantity is too small (or too large)
    where no difference at all would have been inside the region.
    """
    if isinstance(outcome, Argmax):
        return outcome.found
    if isinstance(outcome, Conjunction):
        worst = outcome.weakest(region)
        return f"{worst.label}: {why_contradicted(worst.estimate, worst.region or region)}"
    if region.is_margin:
        return "outside the margin"
    certain = outcome.is_exact or isinf(outcome.value)
    low, high = (outcome.value, outcome.value) if certain else outcome.interval
    if region.low > -inf:
        if region.null > region.low:
            return "too small"
        return "opposite" if high < region.null else FALLS_SHORT
    if region.null < region.high:
        return "too large"
    return "opposite" if low > region.null else FALLS_SHORT


def why_inconclusive(outcome: Outcome, region: Region, family: int, *, sample: str = "texts") -> str:
    """Say how many texts (or pairs of facts, or prompts) would decide, and the smallest effect that these could show.

    What would decide is the side that the estimate lies on. Against a compound statement every part is tested, and a
    margin on both sides, so that the evidence counts as many times. Where the leader of a largest mean was chosen, each
    half of the texts is a test.
    """
    estimate, tests, halves = outcome, 1, 1
    if isinstance(outcome, Conjunction):
        part = outcome.weakest(region)
        estimate, region, tests = part.estimate, part.region or region, len(outcome.parts)
        sample = outcome.sample or sample
    elif isinstance(outcome, Argmax):
        estimate, tests, halves = outcome.undecided()
        region = Region("difference", 0.0, inf, "a leader leads")
    assert isinstance(estimate, Estimate)
    if estimate.texts < 2 or estimate.is_exact:
        return f"on the bound exactly; no number of {sample} would decide"
    inside = region.low <= estimate.value <= region.high
    against = 1 if inside and not isinstance(outcome, Argmax) else tests * (2 if region.is_margin else 1)
    bound = _nearest(estimate, region)
    needed = (
        estimate.deciding(bound, family * against)
        if isinstance(estimate, Items)
        else deciding_texts(estimate.effect(bound), family * against, halves=halves)
    )
    effect = smallest_effect(estimate.texts, family, halves=halves)
    could = f"with these {estimate.texts} an effect below {effect:.2f} sd would probably be missed (family of {family})"
    if needed is None:
        return f"more than {NO_NUMBER:,} {sample} would decide, were the estimate to stay; {could}"
    return f"about {max(needed, estimate.texts):,} {sample} would decide, were the estimate to stay; {could}"


def _nearest(estimate: Estimate, region: Region) -> float:
    """The bound of the region that the estimate is nearest to, in standard deviations over texts."""
    effects = {bound: estimate.effect(bound) for bound in (region.low, region.high) if abs(bound) < inf}
    return min(effects, key=lambda bound: inf if isnan(effects[bound]) else abs(effects[bound]))
