"""What can come out of an estimator: p-values, or a reason why there are none; and remarks beside either."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from dropeact.axes import NotApplicable, Untestable

__all__ = ["NotApplicable", "PValues", "Untestable", "remark", "remarking"]
_heard: ContextVar[list[str] | None] = ContextVar("remarks", default=None)


def remark(text: str) -> None:
    """Say what a reader of the outcome has to know, such as what was left out; heard by the nearest `remarking`."""
    heard = _heard.get()
    if heard is not None and text not in heard:
        heard.append(text)


@contextmanager
def remarking() -> Iterator[list[str]]:
    """Collect every different remark that estimators make inside, in their order; outside nobody hears them."""
    remarks: list[str] = []
    token = _heard.set(remarks)
    try:
        yield remarks
    finally:
        _heard.reset(token)


class PValues(NamedTuple):
    """One-sided evidence that the quantity lies inside the region (`support`) and outside it (`contradict`)."""

    support: float
    contradict: float

    @property
    def decisive(self) -> float:
        """The smaller of the two: the one that Holm's procedure adjusts."""
        return min(self.support, self.contradict)
