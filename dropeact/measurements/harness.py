"""Tasks of lm-evaluation-harness, asked of a pair -> a score per item, in the store beside our own measurements.

The harness is optional: `pip install lm-eval`. Its tasks (RULER, LongBench and hundreds more) bring their own data,
which they fetch; models are loaded by this package, so that DroPE checkpoints need no code of others.
"""

import importlib.metadata
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dropeact.axes import COLUMNS, HALVES, InputError
from dropeact.measurements.measuring import Measuring, Request
from dropeact.store import Cell, Store

CORPUS = "harness"
ANSWER_ROOM = 256  # tokens beside the context that an answer may take


@dataclass(frozen=True)
class Asked:
    """Which tasks, how many items of each (all if None), at which lengths (RULER's), from which folder of own tasks."""

    tasks: tuple[str, ...]
    limit: int | None = None
    lengths: tuple[int, ...] = ()
    folder: str | None = None


def measure_tasks(request: Request, asked: Asked, out: Path) -> None:
    """Ask every column every task that is not in `out` yet: /<column>/harness-<arm>/<task>, score (text, metric).

    Raises
    ------
    InputError
        When the harness is not installed, knows no such task, or `out` cannot be used.
    """
    version = installed()
    store = Store(out)
    measuring = Measuring(request, store)
    with store.locked():
        for column in COLUMNS:
            for task in asked.tasks:
                cells = [_cell(measuring, column, task, half, asked, version) for half in HALVES]
                if not all(store.holds(cell) for cell in cells):
                    checkpoint = measuring.checkpoint(column)
                    samples = evaluated(checkpoint.model, checkpoint.tokenizer, task, asked)
                    for cell in cells:
                        scores = labelled(task, samples, cell.half)
                        store.save(cell, scores, measuring.provenance(column, 0.0))


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
    """The harness's record of every item of one task, or of every task of a group."""
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
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=longest),
            tasks=[task],
            limit=asked.limit,
            task_manager=manager,
            bootstrap_iters=0,
        )
    return [sample | {"task": name} for name, group in results["samples"].items() for sample in group]


def labelled(task: str, samples: Sequence[dict[str, Any]], half: str) -> xr.Dataset:
    """Scores (text, metric) of the items of one half, every second one; NaN where a metric says nothing of an item."""
    chosen = [sample for number, sample in enumerate(samples) if HALVES[number % 2] == half]
    metrics = sorted({metric for sample in samples for metric in sample["metrics"]})
    scores = np.array([[_number(sample.get(metric)) for metric in metrics] for sample in chosen], np.float32)
    names = [f"{sample['task']}-{sample['doc_id']}-{sample['filter']}" for sample in chosen]
    return xr.Dataset(
        {"score": (("text", "metric"), scores.reshape(len(chosen), len(metrics)))},
        coords={"text": names, "half": ("text", [half] * len(names)), "metric": metrics},
        attrs={"task": task},
    )


def _number(value: Any) -> float:
    """A metric of one item; RULER marks the lengths that an item does not have by -1."""
    numeric = isinstance(value, int | float) and value != -1
    return float(value) if numeric else float("nan")


def _cell(measuring: Measuring, column: str, task: str, half: str, asked: Asked, version: str) -> Cell:
    depends = {
        "checkpoint": measuring.identities[column],
        "dtype": measuring.request.dtype,
        "harness": version,
        "limit": asked.limit,
        "lengths": list(asked.lengths),
    }
    return Cell(column, CORPUS, measuring.request.first_tokens, half, task, depends)
