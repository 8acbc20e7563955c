"""What the calibration counts: wrong verdicts in so many samples, the promised rate, and what chance explains."""

from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

SIZES = (8, 16, 32)
RUNS, POPULATION = 10_000, 2_000
EFFECTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
MONTE_CARLO = 0.001


class Row(NamedTuple):
    """How many of `runs` went wrong, against the rate promised; only asserted rows decide."""

    section: str
    what: str
    verdict: str
    distribution: str
    n: int
    wrong: int
    runs: int
    promised: float
    asserted: bool

    @property
    def rate(self) -> float:
        """The observed rate."""
        return self.wrong / self.runs


def limit(row: Row, tests: int) -> int:
    """The most wrong runs that chance explains: the 99.9 % binomial bound over all asserted tests."""
    return int(stats.binom.isf(MONTE_CARLO / tests, row.runs, row.promised))


def failures(rows: Sequence[Row]) -> list[Row]:
    """Asserted rows beyond Monte Carlo error."""
    asserted = [row for row in rows if row.asserted]
    return [row for row in asserted if row.wrong > limit(row, len(asserted))]
