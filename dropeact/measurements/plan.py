"""What a run measures: a request -> cells in order, each measured once and stored; the same request resumes."""

import datetime
import hashlib
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from dropeact import corpus as corpora
from dropeact.axes import COLUMNS, InputError
from dropeact.measurements import ablation, behaviour, core, long_context, notices, phenomena, preconditions, sharing
from dropeact.measurements.measuring import Measuring, Task
from dropeact.measurements.progress import Progress
from dropeact.measurements.provenance import device_name, versions
from dropeact.measurements.request import SETS, Request, hidden_numbers, token_counts
from dropeact.store import Store, canonical

__all__ = ["Measuring", "Request", "check_same_pair", "hidden_numbers", "measure_pair", "tasks", "token_counts"]


def tasks(measuring: Measuring) -> list[Task]:
    """Every cell of the sets that were asked for; later sets select on what earlier ones measured."""
    asked = [*core.tasks(measuring)]
    if "observe" in measuring.request.chosen_sets:
        asked += phenomena.tasks(measuring)
    if "behaviour" in measuring.request.chosen_sets:
        asked += behaviour.tasks(measuring)
    if "ablation" in measuring.request.chosen_sets:
        asked += ablation.tasks(measuring)
    if "long" in measuring.request.chosen_sets:
        asked += long_context.tasks(measuring)
    return asked


def measure_pair(request: Request, out: Path, *, progress: bool = True) -> None:
    """Measure whatever of the request is not in `out` yet; a second call with the same request measures nothing.

    One of several processes measures its share of the cells; the first of them waits for the others.

    Raises
    ------
    InputError
        If `out` holds results of another pair, or an input cannot be used; nothing stored is lost.
    """
    store = Store(out)
    check_same_pair(request, store)
    preconditions.same_depth(request.pair)
    measuring, share = Measuring(request, store), sharing.share()
    preconditions.dense_weights(measuring)
    preconditions.as_many_numbers(measuring)
    with store.locked(share.lock):
        if share.rank == 0:
            notices.tell(measuring)
            name_pair(measuring)
            drop_stale_sets(measuring)
        planned = tasks(measuring)
        missing = [task for task in share.of(planned) if not store.holds(task.cell)]
        if missing:
            preconditions.same_tokens(measuring)
            preconditions.room_for_questions(measuring)
            preconditions.long_enough(measuring, missing[0].cell.column)
        with Progress(sum(task.passes for task in missing), enabled=progress and share.rank == 0) as bar:
            for task in missing:
                bar.describe(str(task.cell))
                sharing.wait_for(sharing.needed(task, planned), store)
                start = time.monotonic()
                dataset = task.measure()
                store.save(task.cell, dataset, measuring.provenance(task.cell.column, time.monotonic() - start))
                bar.advance(task.passes)
        if share.rank == 0:
            sharing.wait_for(planned, store)
            sets = {*request.chosen_sets, *store.read_run()["sets"]}
            store.write_run(run_record(measuring, planned, sets))


def check_same_pair(request: Request, store: Store) -> None:
    """Refuse a folder that holds another pair's results, or another arm or corpus."""
    if not _is_named(store):
        return
    run = store.read_run()
    refuse_other(
        store,
        pair_of(run, request),
        ("the arm", run["arm"], request.first_tokens),
        ("the corpus", run["corpus"], corpora.corpus_hash(request.corpora["passages"])),
        ("the precision", run["dtype"], request.dtype),
    )


def pair_of(run: dict[str, Any], request: Request) -> tuple[str, Any, Any]:
    """The checkpoints that `run.json` names and those asked for, by their identifiers."""
    return "results of", (run["pair"]["rope"], run["pair"]["drope"]), (request.pair.rope, request.pair.drope)


def refuse_other(store: Store, *compared: tuple[str, Any, Any]) -> None:
    """Refuse a folder that holds something else than is asked for: what it is, as stored (None: any), and as asked."""
    for what, stored, asked in compared:
        if stored is not None and stored != asked:
            raise InputError(f"expected {what} {asked}; got {stored} in {store.directory}; choose another --out")


def name_pair(measuring: Measuring) -> None:
    """Say whose results the folder will hold, before the first is stored: a run that is stopped keeps others out."""
    if not _is_named(measuring.store):
        measuring.store.write_run(run_record(measuring, planned=(), sets=()))


def _is_named(store: Store) -> bool:
    """Whether a folder has results and says whose: a run that failed before its first cell keeps nobody out."""
    return (store.directory / "run.json").is_file() and bool(store.files())


def drop_stale_sets(measuring: Measuring) -> None:
    """Take the sets out of `run.json` that were measured of other weights than those named now, and say so.

    Before anything is measured: a run that is stopped must not leave new cells under the old checkpoints. The cells
    stay, for whoever goes back to those weights; they are of no checkpoint that `run.json` names, and not read.
    """
    store = measuring.store
    if not (store.directory / "run.json").is_file():
        return
    run = store.read_run()
    now = {"checkpoints": measuring.identities, "pair": measuring.request.pair.as_dict()}
    if not (changed := _changed(run, now)):
        return
    if gone := [name for name in run["sets"] if name not in measuring.request.chosen_sets]:
        print(
            f"{changed[0]} changed since {', '.join(gone)} was measured in {store.directory}: no longer counted as "
            f"measured; measure again with --only={','.join(gone)}",
            file=sys.stderr,
        )
    store.write_run(run | now | {"sets": []})


def _changed(run: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What the numbers of every set depend on and `run.json` says otherwise than this run."""
    models = [column for column in COLUMNS if run["checkpoints"].get(column) != now["checkpoints"][column]]
    settings = [name for name in ("separator", "write_layer") if run["pair"].get(name) != now["pair"][name]]
    return [*(now["checkpoints"][column]["id"] for column in models), *(f"{name} of the pair" for name in settings)]


def run_record(measuring: Measuring, planned: Sequence[Task], sets: Collection[str]) -> dict[str, Any]:
    """What `run.json` says: pair, checkpoints, corpus, versions; only what matters when two runs are compared."""
    request = measuring.request
    return {
        "pair": measuring.pair.as_dict(),
        "training_length_from": "config" if request.pair.training_length is None else "pair",
        "checkpoints": measuring.identities,
        "sets": [name for name in SETS if name in sets],
        "arm": request.first_tokens,
        "corpus": corpora.corpus_hash(request.corpora["passages"]),
        "texts": len(request.corpora["passages"]),
        "registers": {passage.id: passage.register for passage in request.corpora["passages"]},
        "dtype": request.dtype,
        "device": device_name(measuring.device),
        "seed": core.SEED,
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
        "cells": hashlib.sha256(canonical(sorted(task.cell.key for task in planned)).encode()).hexdigest(),
    }
