"""Two estimates of one quantity, of an old and a new run -> how far it moved, with a 95 % interval of the change.

theta = mean(a) / mean(b) has one contribution per text, u_i = theta + (a_i - theta b_i) / mean(b), whose mean is theta;
for a mean or a difference (b = 1) u_i is the text's own value, for a ratio it is the linearised one. On the same texts
the change is the mean of u'_i - u_i with its t interval; on different texts the difference of means with Welch's.
"""

from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np

from dropeact.estimators import Argmax, Conjunction, Estimate, Region
from dropeact.estimators.contrasts import ALPHA, spread
from dropeact.estimators.student import critical
from dropeact.verdicts.records import Record
from dropeact.verdicts.rule import Outcome

ARITHMETIC = 1e-6  # a relative change below this is another machine's rounding, not another model


@dataclass(frozen=True)
class Movement:
    """The change of an estimate, new minus old; `label` names the part of a compound statement that is compared."""

    value: float
    low: float
    high: float
    floor: float
    paired: bool
    label: str = ""

    @property
    def beyond(self) -> bool:
        """Whether the interval of the change leaves out 0, and the change exceeds the noise floor."""
        return abs(self.value) > self.floor and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class _Sample:
    value: float
    error: float
    n: int
    floor: float


def movement(old: Outcome, new: Outcome, region: Region, *, same_texts: bool) -> Movement | None:
    """The change from `old` to `new`, paired where the texts are the same; None where no finite part is common to both.

    Of a compound statement the part is compared that the new run shows: a conjunction's weakest, an argmax's closest.
    """
    label, after = shown_part(new, region)
    before = estimates(old).get(label)
    if before is None or not isfinite(before.value) or not isfinite(after.value):
        return None
    if same_texts and before.texts == after.texts:
        return paired(before, after, label)
    return welch(_sampled(before), _sampled(after), label)


def paired(old: Estimate, new: Estimate, label: str = "") -> Movement:
    """The mean over the texts of the change of their contributions, with its t interval."""
    changes = contributions(new) - contributions(old)
    value, floor = float(changes.mean()), max(_floor(old), _floor(new))
    half = _half(spread(changes) / sqrt(len(changes)), len(changes) - 1)
    return Movement(value, value - half, value + half, floor, True, label)


def recorded_movement(old: Record, new: Record) -> Movement | None:
    """The change between two records whose texts are not at hand; None where one has no estimate or no interval."""
    samples = [_recorded(record) for record in (old, new)]
    if samples[0] is None or samples[1] is None or old.label != new.label:
        return None
    return welch(samples[0], samples[1], new.label)


def welch(old: _Sample, new: _Sample, label: str = "") -> Movement:
    """The difference of two independent means, with Welch's degrees of freedom."""
    value, error = new.value - old.value, sqrt(old.error**2 + new.error**2)
    parts = sum(s.error**4 / (s.n - 1) for s in (old, new) if s.n > 1)
    half = _half(error, error**4 / parts if parts > 0 else 0.0)
    return Movement(value, value - half, value + half, max(old.floor, new.floor), False, label)


def contributions(estimate: Estimate) -> np.ndarray:
    """One number per text whose mean is the estimate."""
    value = estimate.value
    return value + estimate.contrast(value) / float(estimate.denominator.mean())


def shown_part(outcome: Outcome, region: Region) -> tuple[str, Estimate]:
    """The name and estimate that stand for an outcome in the report."""
    if isinstance(outcome, Conjunction):
        part = outcome.weakest(region)
        return part.label, part.estimate
    if isinstance(outcome, Argmax):
        return next((str(key), lead) for key, lead in outcome.rivals.items() if lead is outcome.closest)
    return "", outcome


def estimates(outcome: Outcome) -> dict[str, Estimate]:
    """Every estimate of an outcome by the name of its part."""
    if isinstance(outcome, Conjunction):
        return {part.label: part.estimate for part in outcome.parts}
    if isinstance(outcome, Argmax):
        return {str(key): lead for key, lead in outcome.rivals.items()}
    return {"": outcome}


def _sampled(estimate: Estimate) -> _Sample:
    values = contributions(estimate)
    return _Sample(estimate.value, spread(values) / sqrt(len(values)), len(values), _floor(estimate))


def _recorded(record: Record) -> _Sample | None:
    if record.estimate is None:
        return None
    floor = ARITHMETIC * abs(record.estimate)
    if record.exact:
        return _Sample(record.estimate, 0.0, 1, floor)
    if record.low is None or record.high is None or record.n < 2:
        return None
    half = (record.high - record.low) / 2
    return _Sample(record.estimate, half / critical(ALPHA, record.n - 1), record.n, floor)


def _floor(estimate: Estimate) -> float:
    return max(estimate.floor / abs(float(estimate.denominator.mean())), ARITHMETIC * abs(estimate.value))


def _half(error: float, freedom: float) -> float:
    if error == 0.0:
        return 0.0
    half = error * critical(ALPHA, freedom) if freedom > 0 else inf
    return half if isfinite(half) else inf
