"""The region a claim declares before anything is measured: wording -> half-line or margin, with its rationale.

By wording, unless the statement itself has a number: more / fewer is a ratio of 1.05 / 0.95 for counts and norms, 0.02
nats for a loss, 0.05 for an entropy in nats, a rate, a share or an accuracy; far more is a ratio of 2 or 0.5 nats;
most is above one half; equivalent is 10 % of a count, 0.10 of a rate, 0.05 of a share, 0.05 nats.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

Scale = Literal["difference", "ratio", "rate"]

MORE_RATIO, FEWER_RATIO = 1.05, 0.95
MORE_NATS, MORE_RATE = 0.02, 0.05
FAR_MORE_RATIO, FAR_MORE_NATS = 2.0, 0.5
DESTROYS_NATS = 1.0


@dataclass(frozen=True)
class Region:
    """The values of a quantity that make a claim true: low <= quantity <= high, an infinite side being open."""

    scale: Scale
    low: float
    high: float
    rationale: str
    null: float = 0.0  # the value that means "no difference": tells an opposite effect from one that is too small

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            raise ValueError(f"expected a scale of {', '.join(get_args(Scale))}; got {self.scale!r}; give one of them")
        if not self.low < self.high:
            raise ValueError(f"expected low < high; got {self.low}..{self.high}; give a region that is not empty")
        if not self.rationale:
            raise ValueError("expected a rationale for the region; got none; say why these bounds")

    @property
    def is_margin(self) -> bool:
        """Whether both sides are bounded."""
        return self.low > -inf and self.high < inf

    def __str__(self) -> str:
        if self.is_margin:
            return f"{self.scale} in [{self.low:g}, {self.high:g}]"
        return f"{self.scale} >= {self.low:g}" if self.low > -inf else f"{self.scale} <= {self.high:g}"


def at_least(bound: float, rationale: str, *, scale: Scale = "difference", null: float | None = None) -> Region:
    """The half-line from `bound` upwards."""
    return Region(scale, bound, inf, rationale, _null(scale, null))


def at_most(bound: float, rationale: str, *, scale: Scale = "difference", null: float | None = None) -> Region:
    """The half-line from `bound` downwards."""
    return Region(scale, -inf, bound, rationale, _null(scale, null))


def within(low: float, high: float, rationale: str, *, scale: Scale = "difference") -> Region:
    """The margin between two bounds."""
    return Region(scale, low, high, rationale, _null(scale, None))


def _null(scale: Scale, null: float | None) -> float:
    return (1.0 if scale == "ratio" else 0.0) if null is None else null


def more_by_ratio() -> Region:
    """More of a count or a norm: at least 5 % more."""
    return at_least(MORE_RATIO, "more: 5 % of a count or norm, the smallest difference worth a sentence", scale="ratio")


def fewer_by_ratio() -> Region:
    """Fewer or lower: at least 5 % less of a count or a norm."""
    return at_most(
        FEWER_RATIO, "fewer: 5 % of a count or norm, the smallest difference worth a sentence", scale="ratio"
    )


def far_more_by_ratio() -> Region:
    """Far more, concentrate, surge: at least twice as many."""
    return at_least(FAR_MORE_RATIO, "far more: at least double", scale="ratio")


def more_nats() -> Region:
    """More loss: at least 0.02 nats per token, 2 % in perplexity."""
    return at_least(MORE_NATS, "more loss: 0.02 nats per token, about 2 % in perplexity")


def far_more_nats() -> Region:
    """Far more loss: at least half a nat per token, 65 % in perplexity."""
    return at_least(FAR_MORE_NATS, "far more loss: half a nat per token, 65 % in perplexity")


def destroys() -> Region:
    """Collapses, destroys: at least one nat per token, a factor e in perplexity."""
    return at_least(DESTROYS_NATS, "collapses: one nat per token, a factor e in perplexity")


def higher_rate() -> Region:
    """Higher rate, share, accuracy or entropy: by at least 0.05."""
    return at_least(MORE_RATE, "higher: 0.05 of a rate, a share or a nat of entropy")


def lower_rate() -> Region:
    """Lower rate, share, accuracy or entropy: by at least 0.05."""
    return at_most(-MORE_RATE, "lower: 0.05 of a rate, a share or a nat of entropy")


def most() -> Region:
    """Most: a rate above one half."""
    return at_least(0.5, "most: more than half", scale="rate", null=0.0)


def equivalent_count() -> Region:
    """An equivalent count: within 10 %."""
    return within(0.90, 1.10, "equivalent: within 10 % of a count", scale="ratio")


def equivalent_rate() -> Region:
    """An equivalent rate: within 0.10."""
    return within(-0.10, 0.10, "equivalent: within 0.10 of a rate")


def equivalent_share() -> Region:
    """An equivalent share: within 0.05."""
    return within(-0.05, 0.05, "equivalent: within 0.05 of a share")


def equivalent_nats() -> Region:
    """An equivalent loss: within 0.05 nats per token."""
    return within(-0.05, 0.05, "equivalent: within 0.05 nats per token, 5 % in perplexity")


def similar_factor() -> Region:
    """A similar factor of perplexity: loss increases in a ratio of 0.8 to 1.25."""
    return within(
        0.8, 1.25, "a similar factor: the larger loss increase is at most 1.25 times the other", scale="ratio"
    )
