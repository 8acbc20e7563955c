"""Rates, changes and ratios of answers, the truth on the bound -> how often each is decided wrongly, beside t alone."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import xarray as xr

from benchmarks.calibration_rows import Row
from dropeact.estimators import Estimate, contrasts, items
from dropeact.estimators.contrasts import ALPHA

ITEM_SIZES = (10, 32, 100, 300)
SUITE, ALONE = "the suite", "Student's t alone"
Judge = Callable[[tuple[int, ...]], Estimate | None]


class Shape(NamedTuple):
    """How many items have each pair of answers (before, after), and theta there; `kind` says what is estimated."""

    kind: str
    truth: str
    theta: float
    answers: Sequence[tuple[int, int]]
    shares: Sequence[float]


def shapes() -> list[Shape]:
    """Each with a truth at which most items agree, and one at which few do."""
    found = [
        Shape("rate", f"{rate:g} right", rate, [(0, 1), (0, 0)], [rate, 1 - rate]) for rate in (0.5, 0.8, 0.9, 0.98)
    ]
    for gained in (0.0, 0.05, 0.2):
        lost = gained + 0.1
        shares = [gained, lost, 1 - gained - lost]
        found.append(Shape("change", f"{lost:g} lost, {gained:g} won", -0.1, [(0, 1), (1, 0), (1, 1)], shares))
    for kept, before in ((0.5, 0.8), (0.1, 0.8), (0.1, 0.3)):
        shares = [kept * before, (1 - kept) * before, 1 - before]
        found.append(Shape("ratio", f"{kept:g} of {before:g}", kept, [(1, 1), (1, 0), (0, 0)], shares))
    return found


def rows(sizes: Sequence[int], runs: int) -> Iterator[Row]:
    """Wrong verdicts of every shape either way; equal samples are judged once."""
    rng = np.random.default_rng(11)
    for shape in shapes():
        for n in sizes:
            drawn = Counter(map(tuple, rng.multinomial(n, shape.shares, runs).tolist()))
            for way, judge in judges(shape).items():
                wrong = np.zeros(2, int)
                for sample, times in drawn.items():
                    estimate = judge(sample)
                    wrong += times * (np.array(estimate.tails(shape.theta) if estimate else (1.0, 1.0)) <= ALPHA)
                for verdict, count in zip(("above", "below"), wrong.tolist(), strict=True):
                    what = f"{shape.kind}: {shape.truth}"
                    yield Row("items", what, verdict, way, n, count, runs, ALPHA, way == SUITE)


def judges(shape: Shape) -> dict[str, Judge]:
    """A sample's estimate by the suite and by t alone; None where nothing was right before, which is untestable."""

    def by(source: ModuleType) -> Judge:
        @cache
        def estimate(sample: tuple[int, ...]) -> Estimate | None:
            before, after = (_asked(shape.answers, sample, place) for place in (0, 1))
            if shape.kind == "rate":
                return source.mean(after, unit="x")
            if shape.kind == "change":
                return source.difference(after, before, unit="x")
            return source.ratio(after, before) if before.any() else None

        return estimate

    return {SUITE: by(items), ALONE: by(contrasts)}


def _asked(answers: Sequence[tuple[int, int]], sample: Sequence[int], place: int) -> xr.DataArray:
    values = np.repeat([float(pair[place]) for pair in answers], sample)
    return xr.DataArray(values, dims="text", coords={"text": np.arange(len(values))})
