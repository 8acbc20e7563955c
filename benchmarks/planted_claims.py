"""Registered claims -> worlds whose truth lies exactly on a claim's bound, and the verdicts that samples of them get.

A world is a finite population of texts for both models, in memory, under the names of the store. A claim's truth is
what its own function says of the whole population. A knob (one variable of one model, scaled or shifted) is found by
search and turned until that truth meets the bound of the region, so a claim added later needs nothing here: new
measurements are planted by a function of that name in tests/synthetic_results.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from math import inf
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
from scipy import optimize

from dropeact.axes import HALVES
from dropeact.estimators import Argmax, Conjunction, Estimate, PValues, Region
from dropeact.joining import joined
from dropeact.measured import Measured, natural, replication
from dropeact.pairs import Pair
from dropeact.store import Store
from dropeact.verdicts.evaluation import Evaluated, evaluate
from dropeact.verdicts.registry import Claim, Function, Kind
from dropeact.verdicts.rule import Outcome
from tests import synthetic_results as synthetic

OWN = Pair(name="planted", rope="rope", drope="drope")
PUBLISHED = Pair(name="planted", rope="rope", drope="drope", published=True)
SETS = ("core", "observe", "behaviour", "ablation", "long")
JITTER = 0.01
PRESETS: tuple[dict[str, Any], ...] = (
    {},
    {"drope": {"query_count": 0.5, "key_count": 0.5, "surge": 6.0, "peak": 0.5, "entropy": 0.4, "massive": 0.5}},
    {"drope": {"query_count": 2.0, "key_count": 2.0, "surge": 0.2, "peak": 2.0, "entropy": -0.4, "massive": 2.5}},
    {
        "rope": {"write_late": 3.0, "first-layer": 7.0},
        "drope": {"write_at_w": 3.0, "first-mlp": 0.02, "mlp-layer": 1.0, "first-layer": 5.0, "length": 120.0},
    },
)
SCALES = (0.02, 0.2, 0.5, 0.9, 1.1, 2.0, 5.0, 50.0)
SHIFTS = (-5.0, -0.5, -0.1, -0.02, 0.02, 0.1, 0.5, 5.0)
TURNS = 50
LABELLED = {"tensor", "condition", "layer", "depth", "pair", "token_class"}


@dataclass(frozen=True)
class Knob:
    """One variable of one model, at one label of a dimension or everywhere, scaled or shifted by an amount."""

    column: str
    measurement: str
    variable: str
    at: tuple[tuple[str, Any], ...]
    scales: bool

    def turned(self, dataset: xr.Dataset, amount: float) -> xr.Dataset:
        """The dataset with the variable moved."""
        values = dataset[self.variable].copy()
        place = {dim: texts_of(dataset, label) if dim == "text" else label for dim, label in self.at}
        values.loc[place] = values.loc[place] * amount if self.scales else values.loc[place] + amount
        return dataset.assign({self.variable: values})

    def __str__(self) -> str:
        where = ", ".join(f"{dim}={label}" for dim, label in self.at)
        return f"{self.column} {self.variable}{f'[{where}]' if where else ''} {'scaled' if self.scales else 'shifted'}"


def texts_of(dataset: xr.Dataset, register: str) -> list[str]:
    """The texts of one register."""
    return [name for name in dataset["text"].values.tolist() if str(name).startswith(register)]


@dataclass
class World(Store):
    """A population under the names of the store; `chosen` picks the texts of one sample from each half."""

    texts: int
    preset: Mapping[str, Any] = field(default_factory=dict)
    cells: dict[tuple[str, str, str], xr.Dataset] = field(default_factory=dict)
    chosen: np.ndarray | None = None

    def __post_init__(self) -> None:
        super().__init__(Path("planted"))

    def load(self, column: str, corpus: str, arm: str, measurement: str) -> xr.Dataset:
        """A planted measurement; what nobody plants is missing, as in the store."""
        key = (column, corpus, measurement)
        if key not in self.cells:
            moved = tuple(sorted(self.preset.get(column, {}).items()))
            self.cells[key] = planted(column, corpus, measurement, self.texts, moved)
        dataset = self.cells[key]
        return dataset if self.chosen is None else dataset.isel(text=self.chosen)

    def turned(self, knob: Knob, amount: float) -> "World":
        """The same population with one knob turned, for every corpus."""
        cells = {
            key: knob.turned(dataset, amount) if (key[0], key[2]) == (knob.column, knob.measurement) else dataset
            for key, dataset in self.cells.items()
        }
        return World(self.texts, self.preset, cells)

    def sampled(self, n: int, run: int) -> "World":
        """Some n texts of the population, half of them from each half; the same ones for every claim."""
        rng = np.random.default_rng([n, run])
        each = self.texts // 2
        halves = [rng.choice(each, n // 2, replace=False) + i * each for i in range(2)]
        return World(self.texts, self.preset, self.cells, np.concatenate(halves))


@cache
def planted(column: str, corpus: str, measurement: str, texts: int, moved: tuple[tuple[str, float], ...]) -> xr.Dataset:
    """Both halves of a measurement, every number jittered by 1 % so that nothing is constant over texts."""
    make: Callable[..., xr.Dataset] | None = getattr(synthetic, measurement.replace("-", "_"), None)
    if make is None:
        raise FileNotFoundError(f"{column}/{corpus}/{measurement}")
    parts = []
    for half in HALVES:
        seed = [len(corpus), HALVES.index(half), len(column), len(measurement)]
        ids = synthetic.text_ids(corpus, half, texts // 2)
        part = make(np.random.default_rng(seed), ids, half, dict(moved))
        rng = np.random.default_rng([*seed, 1])
        noisy = {
            name: variable.astype(float) * (1 + JITTER * rng.normal(size=variable.shape))
            for name, variable in part.data_vars.items()
            if "text" in variable.dims
        }
        parts.append(part.assign(noisy))
    return joined(parts)


class Sampled(Protocol):
    """A population under the names of the store that samples can be drawn from."""

    def sampled(self, n: int, run: int) -> Store:
        """One sample of n texts."""
        ...


@dataclass(frozen=True)
class Entry:
    """One record of a claim: the function and the region that decide it, and the protocol it sees."""

    claim: Claim
    kind: Kind
    function: Function
    region: Region
    pair: Pair

    @property
    def key(self) -> str:
        """The name of the record."""
        return f"{self.claim.id}[{self.kind}]"

    def measured(self, world: Store) -> Measured:
        """The world as this record sees it."""
        studied = self.kind == "magnitude" and self.claim.replication_protocol == "replication"
        return (replication if studied else natural)(world, self.pair)

    def judged(self, world: Store) -> Evaluated:
        """The record through the engine."""
        return evaluate(self.claim, self.kind, self.function, self.region, self.measured(world), SETS)

    def outcome(self, world: Store) -> Outcome:
        """What the claim's own function says of all texts of a world."""
        return self.function(self.measured(world))


def entries(claims: Mapping[str, Claim]) -> Iterator[Entry]:
    """Every record of every claim: its own, and the magnitude one of the published pair."""
    for claim in claims.values():
        for kind, function, region in claim.records_on(PUBLISHED):
            literal = kind == "magnitude" or claim.layers == "literal"
            yield Entry(claim, kind, function, region, PUBLISHED if literal else OWN)


def depth(outcome: Outcome, region: Region) -> float:
    """How far inside its region the statement lies, by its worst part; 0 on the bound, negative outside."""
    if isinstance(outcome, Argmax):  # of several, the leads of all
        return min(estimate.value for estimate in outcome.rivals.values())
    if isinstance(outcome, Conjunction):
        return min(_inside(part.estimate, part.region or region) for part in outcome.parts)
    return _inside(outcome, region)


def _inside(estimate: Estimate, region: Region) -> float:
    above = estimate.value - region.low if region.low > -inf else inf
    below = region.high - estimate.value if region.high < inf else inf
    return min(above, below)


def knobs(world: World) -> Iterator[Knob]:
    """Every way to move what was loaded: whole variables first, then one label of a dimension of words or layers."""
    datasets = {(column, name): dataset for (column, _, name), dataset in world.cells.items()}
    variables = [
        (column, name, str(variable))
        for (column, name), dataset in sorted(datasets.items(), key=lambda item: item[0])
        for variable, values in dataset.data_vars.items()
        if "text" in values.dims
    ]
    for column, name, variable in variables:
        for scales in (True, False):
            yield Knob(column, name, variable, (), scales)
    for column, name, variable in variables:
        values = datasets[column, name][variable]
        for dim in sorted(LABELLED & set(map(str, values.dims)), reverse=True):
            for label in values[dim].values.tolist():
                for scales in (True, False):
                    yield Knob(column, name, variable, ((dim, label),), scales)
    for column, name, variable in variables:
        if (column, name, variable) == ("rope", "disruption", "nats"):
            for scales in (True, False):
                yield Knob(column, name, variable, (("condition", "massive"), ("text", "technical")), scales)


def on_bound(entry: Entry, *, texts: int, search: int = 128) -> tuple[World, str] | None:
    """A population whose truth lies on the entry's bound, and how it was reached; None where no knob reaches it."""
    for preset in PRESETS:
        small = World(search, preset)
        try:
            start = depth(entry.outcome(small), entry.region)
        except Exception:  # the preset lacks what the claim needs
            continue
        for knob in knobs(small):
            amounts = _bracket(entry, small, knob, start)
            if amounts is None:
                continue
            world = World(texts, preset)
            entry.outcome(world)
            at = partial(_depth, entry, world, knob)
            if at(amounts[0]) * at(amounts[1]) > 0:
                continue
            amount = float(optimize.brentq(at, *amounts, xtol=1e-12, maxiter=TURNS, disp=False))  # pyright: ignore[reportArgumentType] - brentq is annotated as possibly returning a result object
            if abs(at(amount)) < 2e-4 * max(1.0, abs(start)):
                return world.turned(knob, amount), f"{knob} by {amount:.4g}"
    return None


def _depth(entry: Entry, world: World, knob: Knob, amount: float) -> float:
    try:
        value = depth(entry.outcome(world.turned(knob, amount)), entry.region)
    except Exception:  # turned too far: an empty denominator, a write layer at the edge
        return -inf
    return value if np.isfinite(value) else -inf


def _bracket(entry: Entry, world: World, knob: Knob, start: float) -> tuple[float, float] | None:
    """Two neighbouring amounts between which the statement turns from true to false."""
    grid = SCALES if knob.scales else SHIFTS
    neutral = 1.0 if knob.scales else 0.0
    ends = {amount: _depth(entry, world, knob, amount) for amount in (grid[0], grid[-1])}
    if all(end == start for end in ends.values()):
        return None
    amounts = sorted([*grid, neutral], key=lambda amount: abs(np.log(amount)) if knob.scales else abs(amount))
    values = {neutral: start} | ends
    for amount in amounts:
        value = values.setdefault(amount, _depth(entry, world, knob, amount))
        nearer = [a for a in values if a != amount and value * values[a] < 0 and np.isfinite([value, values[a]]).all()]
        if nearer:
            other = min(nearer, key=lambda a: abs(a - amount))
            return min(amount, other), max(amount, other)
    return None


def p_of(entry: Entry, world: Sampled, n: int, runs: int) -> list[PValues]:
    """The evidence of `runs` samples of n texts; a sample that cannot be judged counts as undecided."""
    return [entry.judged(world.sampled(n, run)).p for run in range(runs)]
