"""What a run is killed in the middle of is finished by the next one, with the numbers of an undisturbed run."""

import json
import random
import shutil
import time

import pytest

from dropeact.store import Store
from tests.measurements.disturbed import Disturbed
from tests.measurements.runs import same

KILLS = 3
DAY = 86400.0


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert Disturbed(inputs, out).ended() == 0
    return out


@pytest.fixture(scope="module")
def moment(undisturbed):
    """How long a cell takes, in seconds: a random part of it is a random point of a run."""
    times = [file.stat().st_mtime for file in Store(undisturbed).files()]
    return (max(times) - min(times)) / len(times)


def stamps(out):
    """When each cell was written, and which file it is."""
    return {file.name + file.parent.parent.name: file.stat()[1::7] for file in Store(out).files()}


@pytest.mark.parametrize(("rank", "count"), [(0, 1), (1, 2), (0, 2)], ids=["alone", "rank 1", "rank 0"])
def test_a_run_killed_at_random_points_ends_with_the_undisturbed_numbers(
    rank, count, inputs, undisturbed, moment, tmp_path
):
    rng, out = random.Random(f"{rank} of {count}"), tmp_path / "run"
    others = [Disturbed(inputs, out, other, count) for other in range(count) if other != rank]
    kept = {}
    for _ in range(KILLS):
        run = Disturbed(inputs, out, rank, count)
        run.reached("saved", rng.randint(1, 3 - count))
        time.sleep(rng.random() * moment)
        run.killed()
        assert kept.items() <= stamps(out).items()  # what was stored stays, and is not measured again
        assert len(kept) < len(stamps(out)) < len(stamps(undisturbed))
        kept = stamps(out)
    runs = [Disturbed(inputs, out, rank, count), *others]
    assert [run.ended() for run in runs] == [0] * count, runs[0].log.read_text()
    assert kept.items() <= stamps(out).items()
    same(undisturbed, out)
    assert not list(out.rglob("*.tmp.*"))


def test_the_merging_rank_killed_while_it_waits_and_while_it_writes_loses_nothing(
    inputs, undisturbed, moment, tmp_path
):
    out = tmp_path / "run"
    other = Disturbed(inputs, out, 1, 2, held="saved disruption")  # it has more to measure, and lets the first one wait
    first = Disturbed(inputs, out, 0, 2)
    first.reached("waiting for all")
    time.sleep(random.Random(0).random() * moment)
    first.killed()
    other.killed()
    kept = stamps(out)
    assert len(kept) < len(stamps(undisturbed))
    other = Disturbed(inputs, out, 1, 2)
    first = Disturbed(inputs, out, 0, 2, held="writing run.json")
    first.reached("writing run.json")
    first.killed()
    assert other.ended() == 0, other.log.read_text()
    assert kept.items() <= stamps(out).items()
    assert json.loads((out / "run.json").read_text())["sets"] == []
    assert len(list(out.glob("run.json.tmp.*"))) == 1
    kept = stamps(out)
    last = Disturbed(inputs, out, 0, 2)
    assert last.ended() == 0, last.log.read_text()
    assert stamps(out) == kept
    same(undisturbed, out)
    cells = [json.loads((folder / "run.json").read_text())["cells"] for folder in (undisturbed, out)]
    assert cells[0] == cells[1]
    assert not list(out.rglob("*.tmp.*"))


def test_a_clock_set_back_in_the_middle_and_again_before_the_rest_measures_nothing_twice(inputs, undisturbed, tmp_path):
    out = tmp_path / "run"
    begun = Disturbed(inputs, out, back=(2, DAY))
    begun.reached("saved", 4)
    begun.killed()
    kept = stamps(out)
    written = sorted(when for _, when in kept.values())
    assert written[-1] - written[0] > 0.9 * DAY  # later cells look older than the first ones
    assert Disturbed(inputs, out, back=(0, 2 * DAY)).ended() == 0
    assert kept.items() <= stamps(out).items()
    assert min(when for _, when in stamps(out).values()) < written[0] - 0.9 * DAY
    kept = stamps(out)
    assert Disturbed(inputs, out).ended() == 0
    assert stamps(out) == kept
    same(undisturbed, out)


def test_a_lock_left_by_a_dead_process_stops_nobody(inputs, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".lock.holder").write_text("process 999999")
    assert Disturbed(inputs, tmp_path / "run").ended() == 0


def test_a_full_disk_is_one_line_and_status_2_and_the_next_run_goes_on(inputs, undisturbed, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    (out / "run.json").unlink()
    for file in (out / "store" / "drope").rglob("*.nc"):
        file.unlink()
    kept = stamps(out)
    size = min(file.stat().st_size for file in Store(undisturbed).files())
    full = Disturbed(inputs, out, room=size // 2)
    assert full.ended() == 2
    (line,) = [text for text in full.log.read_text().splitlines() if text.startswith("dropeact:")]
    assert line.startswith(f"dropeact: expected to write {out}/store/drope/")
    assert "; got file too large; free some space" in line
    assert stamps(out) == kept
    assert not list(out.rglob("*.tmp.*"))
    assert Disturbed(inputs, out).ended() == 0
    assert kept.items() <= stamps(out).items()
    same(undisturbed, out)
