"""What a run measures: a request -> cells in order, each measured once and stored; the same request resumes."""

import datetime
import hashlib
import inspect
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import transformers
import xarray as xr

import dropeact
from dropeact import corpus as corpora
from dropeact.axes import COLUMNS, HALVES, InputError, other_half
from dropeact.checkpoints import load as checkpoints
from dropeact.corpus import Passage
from dropeact.corpus.arms import tokenise
from dropeact.measurements import disruption, noise_floor, observe, perplexity
from dropeact.measurements.progress import Progress
from dropeact.pairs import Pair
from dropeact.probes import attention, interventions, probing, residual
from dropeact.store import Cell, Store, canonical

SETS = ("core", "observe", "behaviour", "long")
OBSERVATION_LENGTH = 512
LOSS_LENGTH = 256
SEED = 0
PROBES = (attention, residual, probing, interventions)
OBSERVING = (observe, *observe.PHENOMENA, perplexity, *PROBES)
DISRUPTING = (disruption, perplexity, *PROBES)


@dataclass(frozen=True)
class Request:
    """What to measure, on which texts, and how."""

    pair: Pair
    arm: str = ""
    texts: str | None = None
    sets: str = "core"
    device: str | None = None
    dtype: str = "float32"

    @property
    def chosen_sets(self) -> tuple[str, ...]:
        """The sets asked for; core is always among them, because the others build on it."""
        names = set(SETS if self.sets == "all" else self.sets.split(","))
        if unknown := sorted(names - set(SETS)):
            raise InputError(f"expected sets of {', '.join(SETS)} or all; got {unknown[0]!r}; correct --only")
        return tuple(name for name in SETS if name in names | {"core"})

    @property
    def first_tokens(self) -> str:
        """The arm: as asked, or the pair's primary one."""
        return self.arm or self.pair.primary_arm

    @cached_property
    def corpora(self) -> dict[str, tuple[Passage, ...]]:
        """The corpora by name: natural passages (the project's or the user's own) and repeated sentences."""
        natural = corpora.from_file(self.texts) if self.texts else corpora.passages()
        return {"passages": natural, "repeated": corpora.repeated()}


@dataclass(frozen=True)
class Task:
    """One cell and how many text-passes it takes."""

    cell: Cell
    passes: int
    measure: Callable[[], xr.Dataset] = field(compare=False)


class Measuring:
    """One request being carried out: checkpoints are loaded when the first of their cells is missing."""

    def __init__(self, request: Request, store: Store) -> None:
        self.request, self.store = request, store
        self.device = request.device or default_device()
        self.dtype: torch.dtype = getattr(torch, request.dtype)
        self._loaded: tuple[str, Any] | None = None

    @cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """Who the checkpoints are: id, revision, hash of the weights; `dropped` is the RoPE one without rotation."""
        rope = checkpoints.resolve(self.request.pair.rope)
        drope = checkpoints.resolve(self.request.pair.drope)
        return {"rope": rope, "dropped": rope | {"rotation": "dropped"}, "drope": drope}

    @property
    def corpora(self) -> tuple[str, ...]:
        """Natural passages, and repeated sentences where the study's figures are judged or observations asked for."""
        repeated = self.request.pair.published or "observe" in self.request.chosen_sets
        return ("passages", "repeated") if repeated else ("passages",)

    def checkpoint(self, column: str) -> Any:
        """The model of a column, one in memory at a time."""
        if self._loaded is None or self._loaded[0] != column:
            self._loaded = None
            loaded = checkpoints.load(self.request.pair.checkpoint(column), dtype=self.dtype, device=self.device)
            self._loaded = (column, checkpoints.drop(loaded) if column == "dropped" else loaded)
        return self._loaded[1]

    def tokens(self, column: str, corpus: str, half: str, length: int) -> tuple[torch.Tensor, list[str]]:
        """Token ids of one half of a corpus, [text, length], and the text ids."""
        passages = [p for p in self.request.corpora[corpus] if p.half == half]
        tokenizer = self.checkpoint(column).tokenizer
        separator = self.request.pair.separator
        separator_id = tokenizer.convert_tokens_to_ids(separator) if separator else tokenizer.eos_token_id
        arm = self.request.first_tokens
        ids = tokenise(passages, tokenizer, arm=arm, length=length, separator_id=separator_id)
        return torch.from_numpy(ids).to(self.device), [passage.id for passage in passages]

    def cell(
        self, column: str, corpus: str, half: str, measurement: str, code: Sequence[ModuleType], **depends: Any
    ) -> Cell:
        """A cell with everything its numbers depend on."""
        passages = [p for p in self.request.corpora[corpus] if p.half == half]
        return Cell(
            column,
            corpus,
            self.request.first_tokens,
            half,
            measurement,
            {
                "checkpoint": self.identities[column],
                "corpus": corpora.corpus_hash(passages),
                "dtype": self.request.dtype,
                "separator": self.request.pair.separator,
                "code": source_hash(*code),
            }
            | depends,
        )

    def tasks(self) -> Iterator[Task]:
        """Every cell of the request in the order of measuring: model by model, because loading is slow."""
        for column in COLUMNS:
            for corpus in self.corpora:
                yield from (self.observation(column, corpus, half) for half in HALVES)
            if column == "rope":
                yield self.noise_floor()
        for column in COLUMNS:
            for corpus in self.corpora:
                yield from (self.disruption(column, corpus, half) for half in HALVES)

    def observation(self, column: str, corpus: str, half: str) -> Task:
        """Everything that one probed pass shows, for one half of a corpus."""
        cell = self.cell(column, corpus, half, "observations", OBSERVING, length=OBSERVATION_LENGTH)

        def measure() -> xr.Dataset:
            tokens, ids = self.tokens(column, corpus, half, OBSERVATION_LENGTH)
            return observe.observe(self.checkpoint(column).model, tokens, ids=ids, halves=[half] * len(ids))

        return Task(cell, self.count(corpus, half) * 2, measure)

    def disruption(self, column: str, corpus: str, half: str) -> Task:
        """Loss with massive values zeroed at equal dose, masks from the other half, beside the controls."""
        doses = {"other": {c: self.observation(c, corpus, other_half(half)).cell.key for c in COLUMNS}}
        cell = self.cell(column, corpus, half, "disruption", DISRUPTING, length=LOSS_LENGTH, seed=SEED, **doses)

        def measure() -> xr.Dataset:
            norms = {c: self.norms(c, corpus, other_half(half)) for c in ("rope", "drope", column)}
            dose = disruption.equal_dose(norms["rope"], norms["drope"])
            tokens, ids = self.tokens(column, corpus, half, LOSS_LENGTH)
            masks = disruption.masks(norms[column], dose, seed=SEED)
            return disruption.disrupt(self.checkpoint(column).model, tokens, masks, ids=ids, halves=[half] * len(ids))

        return Task(cell, self.count(corpus, half) * len(disruption.CONDITIONS) // 2, measure)

    def noise_floor(self) -> Task:
        """The same cell measured again, and with one and two threads."""
        cell = self.cell("rope", "passages", "A", "noise-floor", (*OBSERVING, noise_floor), length=OBSERVATION_LENGTH)

        def measure() -> xr.Dataset:
            tokens, ids = self.tokens("rope", "passages", "A", OBSERVATION_LENGTH)
            return noise_floor.noise_floor(self.checkpoint("rope").model, tokens[:2], ids=ids[:2], halves=["A", "A"])

        return Task(cell, 12, measure)

    def norms(self, column: str, corpus: str, half: str) -> xr.Dataset:
        """The pooled norms of one stored half, as attended."""
        data = self.store.load(column, corpus, self.request.first_tokens, "observations")
        return data[["query_norm", "key_norm"]].sel(selected_on=half, site="attended", drop=True)

    def count(self, corpus: str, half: str) -> int:
        """How many texts a half has."""
        return sum(passage.half == half for passage in self.request.corpora[corpus])

    def provenance(self, column: str, seconds: float) -> dict[str, Any]:
        """How a cell came about."""
        return {
            "versions": versions(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(seconds, 2),
            "checkpoint": self.identities[column],
            "date": datetime.date.today().isoformat(),
        }


def measure_pair(request: Request, out: Path, *, progress: bool = True) -> None:
    """Measure whatever of the request is not in `out` yet; a second call with the same request measures nothing.

    Raises
    ------
    InputError
        If `out` holds results of another pair, or an input cannot be used; nothing stored is lost.
    """
    store = Store(out)
    check_same_pair(request, store)
    measuring = Measuring(request, store)
    with store.locked():
        tasks = list(measuring.tasks())
        missing = [task for task in tasks if not store.holds(task.cell)]
        with Progress(sum(task.passes for task in missing), enabled=progress) as bar:
            for task in missing:
                bar.describe(str(task.cell))
                start = time.monotonic()
                dataset = task.measure()
                store.save(task.cell, dataset, measuring.provenance(task.cell.column, time.monotonic() - start))
                bar.advance(task.passes)
        store.write_run(run_record(measuring, tasks))


def check_same_pair(request: Request, store: Store) -> None:
    """Refuse a folder that holds another pair's results, or another arm or corpus."""
    if not (store.directory / "run.json").is_file():
        return
    run = store.read_run()
    texts = corpora.corpus_hash(request.corpora["passages"])
    for what, stored, asked in (
        ("results of", (run["pair"]["rope"], run["pair"]["drope"]), (request.pair.rope, request.pair.drope)),
        ("the arm", run["arm"], request.first_tokens),
        ("the corpus", run["corpus"], texts),
        ("the precision", run["dtype"], request.dtype),
    ):
        if stored != asked:
            raise InputError(f"expected {what} {asked}; got {stored} in {store.directory}; choose another --out")


def run_record(measuring: Measuring, tasks: Sequence[Task]) -> dict[str, Any]:
    """What `run.json` says: pair, checkpoints, corpus, versions; only what matters when two runs are compared."""
    request = measuring.request
    return {
        "pair": request.pair.as_dict(),
        "checkpoints": measuring.identities,
        "sets": list(request.chosen_sets),
        "arm": request.first_tokens,
        "corpus": corpora.corpus_hash(request.corpora["passages"]),
        "texts": len(request.corpora["passages"]),
        "dtype": request.dtype,
        "device": device_name(measuring.device),
        "seed": SEED,
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
        "cells": hashlib.sha256(canonical(sorted(task.cell.key for task in tasks)).encode()).hexdigest(),
    }


def default_device() -> str:
    """cuda, else mps, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: str) -> str:
    """The kind of device, without a host name."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{device} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "dropeact": dropeact.__version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def source_hash(*modules: ModuleType) -> str:
    """Versions and content hash of a measurement's own modules: a changed measurement is measured again."""
    sources = "".join(inspect.getsource(module) for module in modules)
    version = ".".join(str(getattr(module, "VERSION", 1)) for module in modules)
    return f"{version}-{hashlib.sha256(sources.encode()).hexdigest()[:12]}"
