"""Claims of facts and prompts -> populations of right and wrong answers whose truth lies on a claim's bound.

A world is ten times the suite's own facts and prompts, for both models. An item is right under a condition where a
uniform number lies below a rate; seven in ten keep their number under every condition, so that conditions are paired,
and in six of ten pairs of facts one number is what the other lacks to 1, so that facts of a pair are not independent.
A rate is turned until the claim's own function, asked of the whole world, meets the bound; a sample has as many items
of every task as the suite has, half of them from each half.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import xarray as xr

from benchmarks.planted_claims import Entry, depth
from dropeact.axes import HALVES
from dropeact.corpus.retrieval import DEPTHS, ERRORS, FORMS, KEYS
from dropeact.estimators import tasks
from dropeact.joining import joined
from dropeact.pairs import Pair
from dropeact.store import Store

PAIR = Pair(name="planted", rope="rope", drope="drope", training_length=2048)
FACTS = dict(tasks.SIZES)
PROMPTS = len(DEPTHS) * KEYS
ASKED = sum(FACTS.values()) + PROMPTS
TIMES = 10
CONDITIONS = ("baseline", "massive", "random", "first-mlp")
LENGTHS = {"retrieval": (256, 512), "long_retrieval": (4096, 8192)}
CANDIDATES = ("exact", "near-1", "near-2", "near-3")
KEPT = 0.7
OPPOSED = 0.6  # of the pairs of facts: a preference for one of two completions makes one right and the other wrong
HARMED = {f"{task}:first-mlp": 0.5 for task in FACTS} | {"passkey:first-mlp": 0.01}
PRESETS: tuple[Mapping[str, Mapping[str, float]], ...] = (
    {},
    {"rope": HARMED | {"reviews:massive": 0.6, "passkey:massive": 0.2, "beyond": 0.1}, "drope": {"beyond": 0.9}},
    {"rope": {"passkey:massive": 0.1}, "drope": {"passkey:massive": 0.1, "passkey": 0.6, "cued": 0.9}},
)
RATES = (
    *(f"{task}:{condition}" for task in (*FACTS, "passkey") for condition in CONDITIONS[1:]),
    *("passkey", "cued", "beyond", "one digit", "near miss", "ranked", "gap"),
)
GRID, STEPS, NEAR = 11, 30, 2e-3  # a world of 1,000 prompts moves in thousandths


@dataclass
class Items(Store):
    """A world under the names of the store; `run` picks one sample of it."""

    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    run: int | None = None

    def __post_init__(self) -> None:
        super().__init__(Path("planted"))

    def load(self, column: str, corpus: str, arm: str, measurement: str) -> xr.Dataset:
        """Facts, or prompts, and that channels were zeroed; what nobody plants is missing, as in the store."""
        if measurement == "disruption":
            return xr.Dataset({"dose": (("selected_on", "layer", "tensor"), np.ones((len(HALVES), 1, 2), int))})
        if measurement not in ("knowledge", *LENGTHS):
            raise FileNotFoundError(f"{column}/{corpus}/{measurement}")
        rates = self.rates.get(column, {})
        halves = [
            facts(column, half, rates) if measurement == "knowledge" else prompts(column, half, rates, measurement)
            for half in HALVES
        ]
        dataset = joined(halves)
        return dataset if self.run is None else dataset.isel(text=self._chosen(dataset, self.run))

    def _chosen(self, dataset: xr.Dataset, run: int) -> np.ndarray:
        """As many of every task as the suite has: the same places in both halves, so that pairs of facts stay whole."""
        rng, picked = np.random.default_rng(run), []
        for task in np.unique(dataset["task"].values):
            halves = [np.flatnonzero((dataset["task"] == task) & (dataset["half"] == half)) for half in HALVES]
            places = rng.choice(len(halves[0]), len(halves[0]) // TIMES, replace=False)
            picked += [half[places] for half in halves]
        return np.sort(np.concatenate(picked))

    def turned(self, column: str, rate: str, amount: float) -> "Items":
        """The same world with one rate of one model set."""
        return Items({**self.rates, column: {**self.rates.get(column, {}), rate: amount}})

    def sampled(self, n: int, run: int) -> "Items":
        """One sample of the suite's own size, whatever n."""
        return Items(self.rates, run)


def is_of_items(entry: Entry) -> bool:
    """Whether a record is about facts and prompts."""
    return entry.claim.set in ("behaviour", "long")


def on_items(entry: Entry) -> Entry:
    """The same record of a pair that names its training length."""
    return replace(entry, pair=replace(entry.pair, training_length=PAIR.training_length))


def numbers(column: str, half: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers (item, condition, ...) that most items keep under every condition; models share half of them."""
    own, shared = (
        np.random.default_rng([len(key), HALVES.index(half), len(name), shape[0]]) for key in (column * 3, "both")
    )
    fresh, same = own.random(shape), own.random((shape[0], 1, *shape[2:]))
    kept = np.where(own.random(same.shape) < KEPT, same, fresh)
    both = np.where(shared.random(same.shape) < 0.5, shared.random(same.shape), kept)
    return np.where(shared.random(same.shape) < KEPT, both, kept)


def facts(column: str, half: str, rates: Mapping[str, float]) -> xr.Dataset:
    """Right or wrong (item, condition) of every task; most facts of half B err where those of half A do not."""
    names = np.repeat(list(FACTS), [TIMES * size // 2 for size in FACTS.values()])
    first, second = (numbers(column, half, "facts", (len(names), len(CONDITIONS))) for half in HALVES)
    opposed = np.random.default_rng([len(column), len(names)]).random((len(names), 1)) < OPPOSED
    uniform = {"A": first, "B": np.where(opposed, 1 - first, second)}[half]
    places = np.concatenate([np.arange(TIMES * size // 2) for size in FACTS.values()])
    rate = np.array([[_rate(rates, task, condition) for condition in CONDITIONS] for task in names])
    right, harmed = uniform < rate, [[150.0, 150.0, 150.0, 1.2]]
    return xr.Dataset(
        {
            "correct": (("text", "condition"), right.astype(float)),
            "answer_correct": (("text", "condition"), right.astype(float)),
            "log_odds": (("text", "condition"), np.where(right, 1.0, -1.0)),
            "first_ratio": (("selected_on", "condition"), harmed),
            "sink_rate": (("selected_on", "condition"), [[0.9, 0.9, 0.9, 0.1]]),
        },
        coords={
            "text": [f"{name}-{2 * i + 1 + HALVES.index(half):05d}" for name, i in zip(names, places, strict=True)],
            "half": ("text", [half] * len(names)),
            "task": ("text", names),
            "condition": list(CONDITIONS),
            "selected_on": [half],
        },
    )


def prompts(column: str, half: str, rates: Mapping[str, float], measurement: str) -> xr.Dataset:
    """Exact match, class of error and p(Yes) of every prompt (text, form, length, condition)."""
    n, lengths = TIMES * PROMPTS // 2, LENGTHS[measurement]
    shape = (n, len(CONDITIONS), len(FORMS), len(lengths))
    rate = np.array([[_rate(rates, "passkey", c), _rate(rates, "cued", c, "passkey")] for c in CONDITIONS])
    if measurement == "long_retrieval":
        rate = rate * 0 + rates.get("beyond", 0.6)
    exact = numbers(column, half, measurement, shape) < rate[:, :, None]
    dims = ("text", "condition", "form", "length")
    rng = np.random.default_rng([len(column), HALVES.index(half), n])
    yes = 0.5 + 0.05 * rng.normal(size=(*shape, len(CANDIDATES)))
    yes[..., 0] = yes[..., 1:].mean(-1) + rates.get("gap", 0.0) + 0.05 * rng.normal(size=shape)
    if "ranked" in rates:
        first = rng.random((n, 1, 1, 1)) < rates["ranked"]
        yes[..., 0] = np.where(first, yes[..., 1:].max(-1) + 0.01, yes[..., 1:].min(-1) - 0.01)
    return xr.Dataset(
        {
            "exact": (dims, exact.astype(float)),
            "error": (dims, errors(exact, rates, rng)),
            "candidate_yes": ((*dims, "candidate"), yes),
            "candidate_log_probability": ((*dims, "candidate"), np.full(yes.shape, -8.0)),
        },
        coords={
            "text": [f"key-{half}-{i}" for i in range(n)],
            "half": ("text", [half] * n),
            "task": ("text", ["passkey"] * n),
            "form": list(FORMS),
            "length": list(lengths),
            "condition": list(CONDITIONS),
            "candidate": list(CANDIDATES),
        },
    )


def errors(exact: np.ndarray, rates: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Class of every answer: right, or wrong by one digit, a near miss, or something else."""
    digit, near = rates.get("one digit", 0.8), rates.get("near miss", 0.1)
    uniform = rng.random(exact.shape)
    names = ("right", "one digit more or less", "near miss", ERRORS[-1])
    right, one, miss, other = (ERRORS.index(name) for name in names)
    wrong = np.where(uniform < digit, one, np.where(uniform < digit + (1 - digit) * near, miss, other))
    return np.where(exact, right, wrong)


def _rate(rates: Mapping[str, float], task: str, condition: str, otherwise: str = "") -> float:
    own = rates.get(task, rates.get(otherwise, 0.8 if "passkey" in (task, otherwise) else 0.9))
    changed = rates.get(f"{otherwise or task}:{condition}", own)
    return own if condition == "baseline" else changed


def on_bound_items(entry: Entry) -> tuple[Items, str] | None:
    """A world whose truth lies on the entry's bound, and how it was reached; None where no rate reaches it."""
    entry = on_items(entry)
    for preset, column, rate in candidates():
        world = Items(preset)
        low, high = -0.5 if rate == "gap" else 0.0, 1.0
        grid = np.linspace(low, high, GRID)
        values = [_depth(entry, world.turned(column, rate, float(amount))) for amount in grid]
        turning = [
            i for i in range(GRID - 1) if np.isfinite(values[i : i + 2]).all() and values[i] * values[i + 1] <= 0
        ]
        if not turning or values[turning[0]] == values[turning[0] + 1]:
            continue
        amount = bisected(entry, world, column, rate, grid[turning[0]], grid[turning[0] + 1])
        found = world.turned(column, rate, amount)
        if abs(_depth(entry, found)) < NEAR:
            return found, f"{column} rate of {rate} set to {amount:.4g}"
    return None


def candidates() -> Iterator[tuple[Mapping[str, Mapping[str, float]], str, str]]:
    """Every rate of every model in every preset."""
    for preset in PRESETS:
        for column in ("rope", "drope"):
            for rate in RATES:
                yield preset, column, rate


def bisected(entry: Entry, world: Items, column: str, rate: str, low: float, high: float) -> float:
    """The amount nearest to the bound between two that lie on either side of it."""
    sign = np.sign(_depth(entry, world.turned(column, rate, low)))
    for _ in range(STEPS):
        middle = (low + high) / 2
        if np.sign(_depth(entry, world.turned(column, rate, middle))) == sign:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _depth(entry: Entry, world: Items) -> float:
    with patch.dict(tasks.SIZES, {task: TIMES * size for task, size in FACTS.items()}):
        try:
            return depth(entry.outcome(world), entry.region)
        except Exception:  # a rate at which nothing is performed undisturbed
            return float("nan")
