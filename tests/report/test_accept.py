"""What a run brings along when it becomes the accepted one."""

import json
from pathlib import Path

import pytest

from dropeact import bundled
from dropeact.axes import InputError
from dropeact.pairs import DEFAULT
from dropeact.report import accept as module
from dropeact.report import default_output
from dropeact.report.accept import TRAJECTORY, accept, trajectory_of
from tests.synthetic_results import results


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run and the accepted results, of the same weights."""
    return tuple(results(tmp_path_factory.mktemp(name)) for name in ("run", "accepted"))


@pytest.fixture(autouse=True)
def clean(folders):
    yield
    for folder in folders:
        (folder / TRAJECTORY).unlink(missing_ok=True)


def test_a_run_brings_its_own_trajectory(folders):
    run, accepted = folders
    for folder in folders:
        (folder / TRAJECTORY).write_text("stages")
    assert trajectory_of(run, accepted) == run / TRAJECTORY


def test_the_accepted_trajectory_stays_with_the_same_weights(folders):
    run, accepted = folders
    assert trajectory_of(run, accepted) is None
    (accepted / TRAJECTORY).write_text("stages")
    assert trajectory_of(run, accepted) == accepted / TRAJECTORY


def test_the_accepted_trajectory_of_other_weights_goes(folders):
    run, accepted = folders
    (accepted / TRAJECTORY).write_text("stages")
    before = (run / "run.json").read_text()
    described = json.loads(before)
    described["checkpoints"]["drope"]["sha256"] = "1" * 64
    (run / "run.json").write_text(json.dumps(described))
    assert trajectory_of(run, accepted) is None
    (run / "run.json").write_text(before)


def test_a_damaged_run_is_refused_before_what_was_accepted_is_touched(tmp_path, monkeypatch):
    home = tmp_path / "results"
    kept = results(home / "synthetic")
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    folder = bundled.folder
    monkeypatch.setattr(module.bundled, "folder", lambda name: home if name == "results" else folder(name))
    run = results(tmp_path / "run", seed=1)
    (run / "store" / "drope" / "passages-first" / "observations-A.nc").write_bytes(b"no NetCDF")
    with pytest.raises(InputError, match="damaged"):
        accept(run)
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before


def test_only_the_default_pair_is_reported_at_the_root_of_a_checkout(tmp_path, monkeypatch):
    home = tmp_path / "results"
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(module.bundled, "folder", lambda _name: home)
    (home / "own").mkdir(parents=True)
    monkeypatch.chdir(home / "own")
    places = {folder: default_output(Path(folder)) for folder in (str(home / DEFAULT), str(home / "own"), ".")}
    assert list(places.values()) == [tmp_path / "FINDINGS.md", home / "own" / "FINDINGS.md", Path("FINDINGS.md")]
