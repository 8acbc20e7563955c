"""What can come out of an estimator: p-values, or a reason why there are none."""

from typing import NamedTuple


class Untestable(Exception):
    """The measurement cannot carry the claim: NaN, a failed manipulation check, a baseline at chance."""


class NotApplicable(Exception):
    """The pair lacks a named precondition of the claim (a literal layer, a length beyond training)."""


class PValues(NamedTuple):
    """One-sided evidence that the quantity lies inside the region (`support`) and outside it (`contradict`)."""

    support: float
    contradict: float

    @property
    def decisive(self) -> float:
        """The smaller of the two: the one that Holm's procedure adjusts."""
        return min(self.support, self.contradict)
