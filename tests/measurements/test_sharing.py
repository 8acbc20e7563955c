import contextlib
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import xarray as xr

from dropeact.axes import InputError
from dropeact.measurements import sharing
from dropeact.measurements.measuring import Task
from dropeact.measurements.sharing import Share, share
from dropeact.store import Cell, Store
from tests.measurements.runs import launched, same, started


@pytest.fixture(scope="module")
def one(inputs, tmp_path_factory):
    """A run of one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    assert started(inputs, out, 0, 1).wait(timeout=240) == 0
    return out


def task(name, passes, **depends):
    return Task(Cell("rope", "passages", "first", "A", name, depends), passes, lambda: xr.Dataset())


def test_which_process_this_is_against_what_launchers_set():
    assert share({}) == Share(0, 1)
    assert share({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Share(3, 8)
    assert share({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}) == Share(1, 2)
    assert share({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) == Share(0, 1)  # in a batch script, without srun
    assert share({"RANK": "", "WORLD_SIZE": "2"}) == Share(0, 1)
    assert share({"RANK": " 1 ", "WORLD_SIZE": "2\n"}) == Share(1, 2)


def test_every_process_holds_a_lock_of_its_own_and_the_first_that_of_one_alone():
    assert [Share(rank, 3).lock for rank in range(3)] == [".lock", ".lock.1", ".lock.2"]
    assert Share().lock == ".lock"


def test_a_long_task_counts_as_much_as_it_takes_against_hand_count():
    """Eight passes at a pace of 2 are 16: the other process has the four tasks of 4 that follow."""
    planned = [replace(task("long", 8), pace=2.0), *(task(f"short-{i}", 4) for i in range(5))]
    names = [[own.cell.measurement for own in Share(rank, 2).of(planned)] for rank in range(2)]
    assert names == [["long", "short-4"], ["short-0", "short-1", "short-2", "short-3"]]


@pytest.mark.parametrize(("rank", "count"), [("0", "0"), ("5", "2"), ("-1", "2"), ("abc", "2"), ("0", "x")])
@pytest.mark.parametrize("names", sharing.RANKS, ids=lambda names: names[0])
def test_a_process_that_its_count_has_no_place_for_is_refused(names, rank, count):
    message = f"^expected {names[0]} from 0 to below {names[1]}; got {rank} of {count}; set both"
    with pytest.raises(InputError, match=message):
        share(dict(zip(names, (rank, count), strict=True)))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_task_belongs_to_one_process_and_loads_are_even_against_hand_count(count):
    planned = [task(f"cell-{i}", 32) for i in range(30)]
    shares = [Share(rank, count).of(planned) for rank in range(count)]
    assert sorted(t.cell.measurement for own in shares for t in own) == sorted(t.cell.measurement for t in planned)
    assert {len(own) for own in shares} == {30 // count}


def test_a_cell_that_never_comes_is_one_line_not_a_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(sharing, "POLL_SECONDS", 0.01)
    with pytest.raises(InputError, match="start the same command again"):
        sharing.wait_for([task("observations", 1)], Store(tmp_path))


def test_stale_cells_that_another_process_measures_anew_are_progress_against_a_clock_of_ones_own(tmp_path, monkeypatch):
    store, now = Store(tmp_path), [0.0]
    stale = [task(f"cell-{i}", 1, code="old") for i in range(4)]
    anew = [task(f"cell-{i}", 1, code="new") for i in range(4)]
    for old in stale:
        store.save(old.cell, old.measure(), {})

    def another_process_works(_seconds):
        now[0] += 0.6 * sharing.PATIENCE_SECONDS
        done = next(task for task in anew if not store.holds(task.cell))
        store.save(done.cell, done.measure(), {})

    monkeypatch.setattr(sharing, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=another_process_works))
    sharing.wait_for(anew, store)
    assert len(store.files()) == len(stale)
    assert now[0] > 2 * sharing.PATIENCE_SECONDS


def begun(out):
    """Whether a run has named its pair and stored a few cells."""
    return (out / "run.json").is_file() and len(Store(out).files()) >= 3


def test_two_processes_store_what_one_does_bit_for_bit_also_after_one_was_killed(inputs, one, tmp_path):
    first, second = (started(inputs, tmp_path / "two", rank, 2) for rank in range(2))
    deadline = time.monotonic() + 60
    while not begun(tmp_path / "two") and time.monotonic() < deadline:
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    first.send_signal(signal.SIGKILL)
    kept = len(Store(tmp_path / "two").files())
    assert 3 <= kept < len(Store(one).files())
    assert Store(tmp_path / "two").read_run()["sets"] == []
    again = [started(inputs, tmp_path / "two", rank, 2) for rank in range(2)]
    assert [process.wait(timeout=240) for process in again] == [0, 0]
    assert Store(tmp_path / "two").read_run()["sets"] == ["core"]
    same(one, tmp_path / "two")


def test_two_ranks_that_torchrun_starts_store_what_one_process_does_bit_for_bit(inputs, one, tmp_path):
    process, holders = launched(inputs, tmp_path / "two", 2), {}
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        for file in (tmp_path / "two").glob(".lock*.holder"):
            with contextlib.suppress(FileNotFoundError):  # it has just finished
                holders[file.name] = file.read_text() or holders.get(file.name, "")
        time.sleep(0.01)
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, said
    assert set(holders) == {".lock.holder", ".lock.1.holder"}  # ranks 0 and 1 ...
    assert len(set(holders.values())) == 2  # ... in processes of their own
    assert said.count("measured: ") == 2
    same(one, tmp_path / "two")


def test_a_process_that_is_alive_is_waited_for_and_a_dead_one_is_not(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(sharing, "POLL_SECONDS", 0.01)
    waits = []
    monkeypatch.setattr(sharing.time, "sleep", lambda _seconds: waits.append(1) or (len(waits) < 5 or 1 / 0))
    with store.locked(), store.locked(".lock.1"):
        assert not sharing.others_measure(store)  # this process holds both
        (tmp_path / ".lock.1.holder").write_text("process 1")
        assert sharing.others_measure(store)
        with pytest.raises(ZeroDivisionError):  # waited five times without giving up
            sharing.wait_for([task("observations", 1)], store)
    (tmp_path / ".lock.1.holder").write_text("process 1")  # of one that was killed: the system took its lock
    assert not sharing.others_measure(store)
    with pytest.raises(InputError, match="start the same command again"):
        sharing.wait_for([task("observations", 1)], store)


def test_both_halves_are_waited_for_where_one_is_selected_on():
    """They are read together: a stale half beside a new one may have another shape."""
    halves = [Task(Cell("rope", "passages", "first", half, "observations", {}), 1, xr.Dataset) for half in "AB"]
    elsewhere = Task(Cell("drope", "passages", "first", "A", "observations", {}), 1, xr.Dataset)
    loss = task("disruption", 1, other={"rope": halves[1].cell.key})
    assert sharing.needed(loss, [*halves, elsewhere, loss]) == halves
    assert sharing.needed(halves[0], [*halves, elsewhere, loss]) == []
