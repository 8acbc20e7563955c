"""Tasks of lm-evaluation-harness, asked of a pair -> a score per item, in the store beside our own measurements.

The harness is optional: `pip install lm-eval`. Its tasks (RULER, LongBench and hundreds more) bring their own data,
which they fetch; models are loaded by this package, so that DroPE checkpoints need no code of others.
"""

import hashlib
import importlib.metadata
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dropeact.axes import COLUMNS, HALVES, InputError
from dropeact.measured import HARNESS, HARNESS_ARM
from dropeact.measurements import plan
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.store import Cell, Store

VERSION = 2
ANSWER_ROOM = 256  # tokens beside the context that an answer may take


@dataclass(frozen=True)
class Asked:
    """Which tasks, how many items of each (all if None), at which lengths (RULER's), from which folder of own tasks."""

    tasks: tuple[str, ...]
    limit: int | None = None
    lengths: tuple[int, ...] = ()
    folder: str | None = None


def measure_tasks(request: Request, asked: Asked, out: Path) -> None:
    """Ask every column every task that is not in `out` yet: /<column>/harness-own/<task>, score (text, metric).

    No arm is applied: a text begins as the harness begins it, hence the name in the place of one.

    Raises
    ------
    InputError
        When the harness is not installed, knows no such task, or `out` cannot be used or is another pair's.
    """
    version = installed()
    store = Store(out)
    measuring = Measuring(request, store)
    with store.locked():
        claim_folder(measuring)
        for column in COLUMNS:
            for task in asked.tasks:
                cells = [_cell(measuring, column, task, half, asked, version) for half in HALVES]
                if not all(store.holds(cell) for cell in cells):
                    checkpoint = measuring.checkpoint(column)
                    started = time.perf_counter()
                    samples = evaluated(checkpoint.model, checkpoint.tokenizer, task, asked)
                    seconds = (time.perf_counter() - started) / len(cells)  # one evaluation answers both halves
                    for cell in cells:
                        scores = labelled(task, samples, cell.half)
                        store.save(cell, scores, measuring.provenance(column, seconds))


def claim_folder(measuring: Measuring) -> None:
    """Refuse a folder of another pair, precision or weights; write down whose a new one is, with no set measured.

    Raises
    ------
    InputError
        When the folder is another one's.
    """
    store, request = measuring.store, measuring.request
    if not (store.directory / "run.json").is_file():
        store.write_run(plan.run_record(measuring, planned=(), sets=()) | {"corpus": None, "texts": 0})
        return
    run = store.read_run()
    plan.refuse_other(store, plan.pair_of(run, request), ("the precision", run["dtype"], request.dtype))
    for column in COLUMNS:
        if run["checkpoints"][column] != (asked := measuring.identities[column]):
            raise InputError(
                f"expected {asked['id']} as it was when {store.directory} was measured; got other weights or settings; "
                "choose another --out"
            )


def installed() -> str:
    """The version of the harness.

    Raises
    ------
    InputError
        When it is not installed.
    """
    try:
        return importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        raise InputError("expected lm-evaluation-harness; got none; run `pip install lm-eval`") from None


def evaluated(model: Any, tokenizer: Any, task: str, asked: Asked) -> list[dict[str, Any]]:
    """The harness's record of every item and filter of one task, or of every task of a group.

    Raises
    ------
    InputError
        When it knows no such task, or keeps its results to another process.
    """
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports] - optional
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports] - optional
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] - optional

    longest = max(asked.lengths, default=0) + ANSWER_ROOM if asked.lengths else None
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        sizes = {"tokenizer": folder} | ({"max_seq_lengths": list(asked.lengths)} if asked.lengths else {})
        manager = TaskManager(include_path=asked.folder, metadata=sizes)
        if task not in manager.all_tasks:
            raise InputError(f"expected a task of lm-evaluation-harness; got {task!r}; see `lm_eval ls tasks`")
        results = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=longest),
            tasks=[task],
            limit=asked.limit,
            task_manager=manager,
            bootstrap_iters=0,
        )
    if results is None:
        raise InputError("expected LOCAL_RANK=0 or none; got another, to which the harness gives no results; unset it")
    return [sample | {"task": name} for name, group in results["samples"].items() for sample in group]


def labelled(task: str, samples: Sequence[dict[str, Any]], half: str) -> xr.Dataset:
    """Scores (text, metric) of the items of one half, every second one; NaN where a metric says nothing of an item.

    An item is one text whatever the number of filters its answer goes through: the harness has a record for each, and
    the metrics of a filter other than `none` are named `metric,filter`, as in its tables.

    Raises
    ------
    InputError
        When no metric is a number per item, as in tasks of perplexity.
    """
    items: dict[tuple[str, int], dict[str, float]] = {}
    for sample in samples:
        named = {
            metric: metric if sample["filter"] == "none" else f"{metric},{sample['filter']}"
            for metric in sample["metrics"]
        }
        scores = {name: _number(metric, sample.get(metric)) for metric, name in named.items()}
        items.setdefault((sample["task"], sample["doc_id"]), {}).update(scores)
    metrics = sorted({metric for scores in items.values() for metric in scores})
    every = np.array([[scores.get(metric, np.nan) for metric in metrics] for scores in items.values()], np.float32)
    if np.isnan(every).all():
        raise InputError(
            f"expected a number per item; got none of {', '.join(metrics)}; choose another task than {task!r}"
        )
    chosen = [row for row, (_, number) in enumerate(items) if HALVES[number % 2] == half]
    names = [f"{name}-{number}" for name, number in items]
    return xr.Dataset(
        {"score": (("text", "metric"), every[chosen])},
        coords={"text": [names[row] for row in chosen], "half": ("text", [half] * len(chosen)), "metric": metrics},
        attrs={"task": task},
    )


def _number(metric: str, value: Any) -> float:
    """A metric of one item; RULER, whose metrics are lengths, marks those that an item does not have by -1."""
    absent = not isinstance(value, Real | np.bool_) or (metric.isdecimal() and value == -1)
    return float("nan") if absent else float(value)


def _definitions(folder: str | None) -> str:
    """Content hash of a folder's own task definitions, so that a changed one is asked again; not of the data."""
    files = sorted(path for kind in ("*.yaml", "*.py") for path in Path(folder).rglob(kind)) if folder else []
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12] if files else ""


def _cell(measuring: Measuring, column: str, task: str, half: str, asked: Asked, version: str) -> Cell:
    depends = {
        "checkpoint": measuring.identities[column],
        "dtype": measuring.request.dtype,
        "harness": version,
        "limit": asked.limit,
        "lengths": list(asked.lengths),
        "own": _definitions(asked.folder),
        "version": VERSION,
    }
    return Cell(column, HARNESS, HARNESS_ARM, half, task, depends)
