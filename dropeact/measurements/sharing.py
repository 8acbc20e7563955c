"""The processes of one run -> which cells each measures; they meet in the store and never in a collective call.

`torchrun`, `accelerate launch` (on GPUs) and Slurm say how many processes there are and which one this is.
Each cell is written by one process, atomically, under its own name: the store of many processes is that of one. A
process that dies costs its unfinished cells; the same command again measures them.
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import filelock

from dropeact.axes import InputError
from dropeact.measurements.measuring import Task
from dropeact.store import Store

RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))  # SLURM_NTASKS is set without srun too
DIGITS = 9  # of a rank or a count
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class Share:
    """One process: `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def lock(self) -> str:
        """The name of the lock that this process holds on the folder of results."""
        return ".lock" if self.rank == 0 else f".lock.{self.rank}"

    def of(self, planned: Sequence[Task]) -> list[Task]:
        """The tasks of this process: in the order of the plan, each goes to the one with the least to do so far.

        Every process finds the same division, because it rests on the plan alone, not on what is stored.
        """
        loads, own = [0.0] * self.count, []
        for task in planned:
            least = min(range(self.count), key=lambda rank: loads[rank])
            loads[least] += task.passes * task.pace
            if least == self.rank:
                own.append(task)
        return own


def share(environment: Mapping[str, str] = os.environ) -> Share:
    """Which process this is, from the environment; alone where nothing says otherwise.

    Raises
    ------
    InputError
        When a launcher names a process that its count has no place for: its cells would be measured by none.
    """
    for rank, count in RANKS:
        own, all_of_them = environment.get(rank, "").strip(), environment.get(count, "").strip()
        if own and all_of_them:
            whole = all(text.isdecimal() and len(text) <= DIGITS for text in (own, all_of_them))
            if not whole or int(own) >= int(all_of_them):
                raise InputError(
                    f"expected {rank} from 0 to below {count}; got {own[:20]} of {all_of_them[:20]}; "
                    "set both as a launcher does, or unset both"
                )
            return Share(int(own), int(all_of_them))
    return Share()


def needed(task: Task, planned: Sequence[Task]) -> list[Task]:
    """The tasks whose cells a task selects on, and those of the half beside them: both are read together."""
    keys = set(task.cell.depends.get("other", {}).values())
    read = {_measurement(other) for other in planned if other.cell.key in keys}
    return [other for other in planned if _measurement(other) in read]


def _measurement(task: Task) -> tuple[str, ...]:
    return task.cell.column, task.cell.corpus, task.cell.arm, task.cell.measurement


def wait_for(tasks: Sequence[Task], store: Store) -> None:
    """Return when all these cells are stored.

    Raises
    ------
    InputError
        When nothing new was stored for an hour and no other process holds the folder: whoever should have measured
        them has died. One that is alive may take longer over a cell.
    """
    missing, since, seen = list(tasks), time.monotonic(), stamps(store)
    while missing := [task for task in missing if not store.holds(task.cell)]:  # what is stored stays
        if (now := stamps(store)) != seen:
            since, seen = time.monotonic(), now
        if time.monotonic() - since > PATIENCE_SECONDS and not others_measure(store):
            raise InputError(
                f"expected {missing[0].cell} from another process; got nothing new for {PATIENCE_SECONDS / 60:.0f} "
                "minutes; start the same command again"
            )
        time.sleep(POLL_SECONDS)


def others_measure(store: Store) -> bool:
    """Whether another process holds one of the folder's locks, which the system takes from those that die."""
    for file in store.directory.glob(".lock*.holder"):
        if file.read_text("utf-8") == f"process {os.getpid()}":
            continue
        lock = filelock.FileLock(file.with_suffix(""))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return True
        lock.release()
    return False


def stamps(store: Store) -> set[tuple[str, int, int]]:
    """Which files are stored, and which writing of each: a stale cell that is measured anew is another file."""
    found = set()
    for path in store.root.rglob("*.nc"):
        with contextlib.suppress(FileNotFoundError):  # another process is replacing it
            state = path.stat()
            found.add((str(path), state.st_mtime_ns, state.st_ino))
    return found
