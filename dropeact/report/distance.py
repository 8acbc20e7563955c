"""A record -> how far its interval lies from its declared region, in standard deviations over texts."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.student import critical
from dropeact.verdicts.records import Record
from dropeact.verdicts.rule import FALLS_SHORT


class Distance(NamedTuple):
    """Where estimate and interval lie from the nearest bound; positive inside the region, negative outside it."""

    estimate: float
    low: float
    high: float


def distance(record: Record) -> Distance | None:
    """Standardised distance from the region; None without an estimate or with an unbounded interval.

    d(x) = min(x - region.low, region.high - x) / s, s = (high - low) sqrt(n) / (2 t), t the 0.975 quantile with
    n - 1 degrees of freedom: half the interval is t s / sqrt(n). Where nothing varies over texts d is infinite.
    """
    low, high = (record.estimate, record.estimate) if record.exact else (record.low, record.high)
    if record.estimate is None or low is None or high is None:
        return None
    ends = (_inside(record, low), _inside(record, high))
    middle = _middle(record)
    most = _inside(record, middle) if middle is not None and low < middle < high else max(ends)
    spread = 0.0 if high == low or record.n < 2 else sqrt(record.n) * (high - low) / (2 * _t(record.n))
    return Distance(*(_divided(value, spread) for value in (_inside(record, record.estimate), min(ends), most)))


def disagreements(records: Sequence[Record]) -> list[Record]:
    """The contradicted records, those that matter most first.

    An effect that the statement denies comes before one that only falls short of it; within each the interval that
    lies farthest from the declared region comes first.
    """
    return sorted((record for record in records if record.verdict == "contradicted"), key=_rank)


def falls_short(record: Record) -> bool:
    """Whether the effect goes the way of the statement, only not as far."""
    return record.reason.endswith(FALLS_SHORT)


def outside(record: Record) -> float:
    """Standard deviations between the region and the nearest end of the interval; 0 where they touch."""
    found = distance(record)
    return 0.0 if found is None else max(0.0, -found.high)


def _rank(record: Record) -> tuple[bool, float, str]:
    return falls_short(record), -outside(record), record.key


def _inside(record: Record, value: float) -> float:
    low, high = record.region["low"], record.region["high"]
    return min(inf if low is None else value - low, inf if high is None else high - value)


def _middle(record: Record) -> float | None:
    low, high = record.region["low"], record.region["high"]
    return None if low is None or high is None else (low + high) / 2


def _t(n: int) -> float:
    return critical(ALPHA, n - 1)


def _divided(value: float, spread: float) -> float:
    if spread > 0:
        return value / spread
    return 0.0 if value == 0 else inf if value > 0 else -inf
