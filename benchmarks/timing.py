"""Ways to do the same thing -> seconds and peak memory of each, measured in turn in one process."""

import ctypes
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

MIB = 2**20
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h


class Timed(NamedTuple):
    """One way, measured in several rounds; `ratios` are to the first way of the same round."""

    way: str
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]
    peak_mib: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form with medians and spread."""
        return {
            "way": self.way,
            "seconds": round(median(self.seconds), 4),
            "rounds": len(self.seconds),
            "ratio": round(median(self.ratios), 3),
            "ratio_low": round(min(self.ratios), 3),
            "ratio_high": round(max(self.ratios), 3),
            "peak_mib": None if self.peak_mib is None else round(self.peak_mib, 1),
        }


def in_turn(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> list[Timed]:
    """Time every way once a round, in order, after one round that only warms up and reads the peak memory."""
    peaks = {name: peak_memory(way) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    return [Timed(name, tuple(s), tuple(ratios(s, first)), peaks[name]) for name, s in seconds.items()]


def ratios(seconds: Sequence[float], to: Sequence[float]) -> list[float]:
    """One ratio a round."""
    return [a / b for a, b in zip(seconds, to, strict=True)]


def peak_memory(way: Callable[[], object]) -> float | None:
    """The largest resident memory of the process while `way` runs, in MiB; None where glibc or Linux do not tell.

    Freed arrays go back to the system at once meanwhile: what an allocator keeps differs by 100 MiB from run to run.
    """
    gc.collect()
    with arrays_given_back():
        counted = peak_reset()
        way()
    if not counted:
        return None
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / MIB


def peak_reset() -> bool:
    """Let Linux count the largest resident memory anew; tell whether it does."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@contextmanager
def arrays_given_back() -> Iterator[None]:
    """Let glibc return every freed array of 1 MiB and more; afterwards it keeps what it does after some large ones."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # another library, which goes on as it does
        yield
        return
    libc.malloc_trim(0)
    libc.mallopt(MMAP_THRESHOLD, MIB)
    try:
        yield
    finally:
        libc.mallopt(MMAP_THRESHOLD, 32 * MIB)  # where its own threshold ends when arrays that large were freed
        libc.mallopt(TRIM_THRESHOLD, 64 * MIB)
