"""Runs of `dropeact measure`, forked where torch is loaded, that tell how far they are and can be held there."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import torch

from dropeact.cli import main
from dropeact.measurements import core, plan, sharing
from dropeact.store import Store

SECONDS = 180
LENGTH = 64  # tokens of a text here: each cell takes a moment, and a dozen starts less than a minute
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


class Disturbed:
    """A run of its own process: `held` at a stage, its clock set `back`, with `room` for so many bytes in a file.

    Stages: `saved <measurement>`, `waiting for all`, `writing run.json`.
    """

    def __init__(self, inputs, out, rank=0, count=1, *, held="", back=(0, 0.0), room=0):
        self.log = Path(f"{out}.{rank}.log")
        self.stages, theirs = FORKS.Pipe(duplex=False)
        given = (theirs, self.log, [*inputs, f"--out={out}"], rank, count, held, back, room)
        self.process = FORKS.Process(target=_measure, args=given, daemon=True)
        self.process.start()
        theirs.close()

    def reached(self, stage, times=1):
        """Wait until the run has told so many times that it is at a stage; EOFError if it ends before."""
        while times:
            assert self.stages.poll(SECONDS), self.log.read_text()
            times -= self.stages.recv().startswith(stage)

    def killed(self):
        """Kill the run, which is alive."""
        assert self.process.exitcode is None, self.log.read_text()
        self.process.kill()
        assert self.ended() == -signal.SIGKILL

    def ended(self):
        """The exit status of the run, when it has ended."""
        self.process.join(SECONDS)
        return self.process.exitcode


def _measure(stages, log, arguments, rank, count, held, back, room):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
    torch.set_num_threads(1)
    core.OBSERVATION_LENGTH = core.LOSS_LENGTH = LENGTH
    _telling(stages, held, *back)
    if room:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # Python ignores the signal: writing more is an error
    sys.argv = ["dropeact", "measure", *arguments]
    main()


def _telling(stages, held, saves, seconds):
    """Tell each stage, and set the clock back by so many seconds after so many cells."""
    save, wait, replace, clock = Store.save, sharing.wait_for, Path.replace, time.time
    stored = []

    def now():
        return clock() - (seconds if len(stored) >= saves else 0.0)

    def tell(stage):
        stages.send(stage)
        while stage == held:
            time.sleep(60)

    def saved(store, cell, dataset, provenance):
        path = save(store, cell, dataset, provenance)
        os.utime(path, (now(), now()))  # a file system's clock is the machine's
        stored.append(path)
        tell(f"saved {cell.measurement}")
        return path

    def waiting(tasks, store):
        if any(task.cell.measurement == "noise-floor" for task in tasks):  # no cell is selected on that one
            tell("waiting for all")
        wait(tasks, store)

    def replacing(temporary, target):
        if Path(target).name == "run.json" and json.loads(temporary.read_text())["sets"]:  # it ends the run
            os.truncate(temporary, temporary.stat().st_size // 2)
            tell("writing run.json")
        return replace(temporary, target)

    mock.patch.object(time, "time", now).start()
    mock.patch.object(Store, "save", saved).start()
    mock.patch.object(plan.sharing, "wait_for", waiting).start()
    if held == "writing run.json":
        mock.patch.object(Path, "replace", replacing).start()
