"""What a run is killed in the middle of is finished by the next one, with the numbers of an undisturbed run."""

import os
import random
import shutil
import signal
import time

import pytest

from dropeact.store import Store
from tests.measurements.runs import same, started

KILLS = 5
SECONDS = 180


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert started(inputs, out, 0, 1).wait(timeout=SECONDS) == 0
    return out


def until(condition, process):
    """Wait for a condition, or for the process to be done with it."""
    deadline = time.monotonic() + SECONDS
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def killed(process, out, files, rng):
    """Kill a process at a random moment after so many files are there."""
    until(lambda: len(Store(out).files()) >= files, process)
    time.sleep(rng.random() * 0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(("rank", "count"), [(0, 1), (1, 2), (0, 2)], ids=["run", "rank", "merging rank"])
def test_a_run_killed_at_random_points_ends_with_the_undisturbed_numbers(rank, count, inputs, undisturbed, tmp_path):
    rng = random.Random(f"{rank} of {count}")
    total = len(Store(undisturbed).files())
    others = [started(inputs, tmp_path / "run", other, count) for other in range(count) if other != rank]
    kept = []
    for files in sorted(rng.sample(range(total), KILLS)):
        killed(started(inputs, tmp_path / "run", rank, count), tmp_path / "run", files, rng)
        kept.append(len(Store(tmp_path / "run").files()))
    assert kept == sorted(kept)  # what was stored stays
    last = started(inputs, tmp_path / "run", rank, count)
    assert [process.wait(timeout=SECONDS) for process in (last, *others)] == [0] * count, last.communicate()
    same(undisturbed, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.tmp.*"))


def test_a_clock_that_was_set_back_measures_nothing_again(inputs, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    tomorrow = int(time.time()) + 86400
    files = Store(tmp_path / "run").files()
    for file in files:
        os.utime(file, (tomorrow, tomorrow))
    assert started(inputs, tmp_path / "run", 0, 1).wait(timeout=SECONDS) == 0
    assert {file.stat().st_mtime for file in files} == {tomorrow}


def test_a_lock_left_by_a_dead_process_stops_nobody(inputs, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".lock.holder").write_text("process 999999")
    assert started(inputs, tmp_path / "run", 0, 1).wait(timeout=SECONDS) == 0
