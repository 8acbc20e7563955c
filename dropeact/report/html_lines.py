"""A record -> its number line: where region, interval, estimate and published value lie, in percent of the width."""

from math import ceil, floor, log10
from typing import NamedTuple

from dropeact.report import words
from dropeact.verdicts.records import Record

NULL = {"ratio": 1.0, "difference": 0.0}
JUDGED = {"ratio": ("ratio", "change"), "rate": ("rate",), "difference": ("difference",)}
TICKS = 4


class Span(NamedTuple):
    """A stretch of the line, in percent; an open end runs to the edge."""

    left: float
    width: float
    open_left: bool
    open_right: bool


class NumberLine(NamedTuple):
    """Positions in percent; what is not there is None."""

    ticks: list[tuple[float, str]]
    region: Span
    interval: Span | None
    estimate: float
    published: float | None
    null: float | None
    text: str


def number_line(record: Record) -> NumberLine | None:
    """Lay out a record; None where it has no estimate."""
    if record.estimate is None:
        return None
    region, printed = record.region, published_value(record)
    null = NULL.get(region["scale"])
    bounds = [region["low"], region["high"], record.low, record.high, record.estimate, printed, null]
    low, high = _padded([value for value in bounds if value is not None], region["scale"])

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    def span(start: float | None, end: float | None) -> Span:
        left, right = at(low if start is None else start), at(high if end is None else end)
        return Span(left, round(right - left, 2), start is None, end is None)

    return NumberLine(
        ticks=[(at(value), f"{value:g}") for value in ticks(low, high)],
        region=span(region["low"], region["high"]),
        interval=None if record.exact else span(record.low, record.high),
        estimate=at(record.estimate),
        published=None if printed is None else at(printed),
        null=None if null is None else at(null),
        text=described(record, printed),
    )


def published_value(record: Record) -> float | None:
    """The published figure where it is on the scale of the record: a change of -39 % is a ratio of 0.61.

    None for a magnitude, whose region lies around its figure: that may have become nats first (82 times is 2.59).
    """
    if record.kind == "magnitude":
        return None
    for key in JUDGED[record.region["scale"]]:
        value = (record.published or {}).get(key)
        if isinstance(value, int | float):
            return 1 + value if key == "change" else float(value)
    return None


def described(record: Record, printed: float | None) -> str:
    """The number line in words, for a reader who does not see it."""
    tail = "" if printed is None else f"; published {words.number(printed)}"
    return f"{record.verdict}: measured {words.measured(record)}; region {words.region(record)}{tail}"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between `low` and `high`, about TICKS of them."""
    raw = (high - low) / TICKS
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = ceil(low / step), floor(high / step)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _padded(values: list[float], scale: str) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    if scale == "rate" and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low - pad, high + pad
