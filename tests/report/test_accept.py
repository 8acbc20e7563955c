"""What a run brings along when it becomes the accepted one."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from dropeact import bundled
from dropeact.axes import InputError
from dropeact.pairs import DEFAULT
from dropeact.report import accept as module
from dropeact.report import figures, gallery
from dropeact.report import folder as report
from dropeact.report.accept import CLOSE, OPEN, TRAJECTORY, accept, trajectory_of
from dropeact.store import Store
from dropeact.verdicts import load_claims
from dropeact.verdicts.records import read_verdicts
from dropeact.verdicts.registry import Kind
from tests.synthetic_results import PAIR, results


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run and the accepted results, of the same weights."""
    return tuple(results(tmp_path_factory.mktemp(name), texts=4, cells=()) for name in ("run", "accepted"))


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


@pytest.fixture(scope="module")
def known():
    """Claims of the checkout itself, imported before another folder stands for it."""
    return load_claims()


@pytest.fixture
def checkout(known, tmp_path, monkeypatch):
    """A source checkout of its own, with results accepted in it."""
    home = tmp_path / "checkout"
    (home / "claims" / "expected").mkdir(parents=True)
    for source in bundled.folder("claims").iterdir():
        if source.name != "expected":
            (home / "claims" / source.name).symlink_to(source)
    (home / "report_templates").symlink_to(bundled.folder("report_templates"))
    (home / "pyproject.toml").touch()
    (home / "README.md").write_text(f"before\n{OPEN}\n{CLOSE}\nafter\n")
    monkeypatch.setattr(bundled, "_PACKAGE", home / "dropeact")
    monkeypatch.setattr(report.robustness, "strips", lambda *_: {})  # these, and all figures but one, take seconds
    monkeypatch.setattr(gallery, "audit_figure", lambda _, path: path.touch())
    monkeypatch.setattr(figures, "DRAWINGS", figures.DRAWINGS[-1:])
    accept(measured(tmp_path / "first"))
    return home


def measured(folder, **planted):
    return results(folder, pair=NAMED, texts=8, cells=("observations",), **planted)


NAMED = replace(PAIR, name=DEFAULT)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damaged(run):
    (run / "store" / "drope" / "passages-first" / "observations-A.nc").write_bytes(b"no NetCDF")


def without_a_cell(run):
    shutil.rmtree(run / "store" / "dropped")


def with_a_damaged_trajectory(run):
    (run / TRAJECTORY).write_text("no NetCDF")


@pytest.mark.parametrize("break_it", [damaged, without_a_cell, with_a_damaged_trajectory])
def test_a_run_that_cannot_be_reported_changes_nothing_and_is_named(break_it, checkout, tmp_path):
    before = content(checkout)
    run = measured(tmp_path / "run", seed=1)
    break_it(run)
    with pytest.raises(InputError, match=str(run)):
        accept(run)
    assert content(checkout) == before
    assert [path.name for path in (checkout / "results").iterdir()] == [DEFAULT]


@pytest.mark.parametrize("name", ["README.md", f"{DEFAULT}.toml"])
def test_a_text_that_cannot_be_written_changes_nothing(name, checkout, tmp_path, monkeypatch):
    before = content(checkout)
    run = measured(tmp_path / "run", seed=1)
    write = module.write_text

    def refused(path, text):
        if path.name == name:
            raise InputError("expected to write")
        write(path, text)

    monkeypatch.setattr(module, "write_text", refused)
    with pytest.raises(InputError, match="expected to write"):
        accept(run)
    assert content(checkout) == before
    assert [path.name for path in (checkout / "results").iterdir()] == [DEFAULT]


def test_a_run_without_an_accepted_set_is_not_accepted(checkout, tmp_path):
    target = checkout / "results" / DEFAULT
    held = Store(target).read_run()
    Store(target).write_run(held | {"sets": ["core", "observe"]})
    before = content(checkout)
    with pytest.raises(InputError, match=r"got a run without observe; measure them into it .--only=core,observe., or"):
        accept(measured(tmp_path / "run", seed=1))
    assert content(checkout) == before


def test_an_accepted_run_stands_in_the_place_of_the_one_before(checkout, tmp_path):
    before = content(checkout)
    run = measured(tmp_path / "run", seed=1, plant={"drope": {"sink": 0.2}})
    said = accept(run)
    target, now = checkout / "results" / DEFAULT, content(checkout)
    assert said[0] == f"accepted: {target}"
    assert now.keys() == before.keys()
    assert content(run / "store").keys() == {run / path.relative_to(target) for path in content(target / "store")}
    for name in ("FINDINGS.md", "README.md", f"results/{DEFAULT}/verdicts.json"):
        assert now[checkout / name] != before[checkout / name]
    text = (checkout / "FINDINGS.md").read_text()
    links = re.findall(r"\]\(([^)#:]+\.svg)\)", text)
    assert links
    assert all((checkout / link).is_file() for link in links)
    accept(target)
    assert content(checkout) == now


def test_only_the_default_pair_is_reported_at_the_root_of_a_checkout(tmp_path, monkeypatch):
    home = tmp_path / "results"
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(module.bundled, "folder", lambda _name: home)
    (home / "own").mkdir(parents=True)
    monkeypatch.chdir(home / "own")
    places = {place: report.default_output(Path(place)) for place in (str(home / DEFAULT), str(home / "own"), ".")}
    assert list(places.values()) == [tmp_path / "FINDINGS.md", home / "own" / "FINDINGS.md", Path("FINDINGS.md")]


def test_the_accepted_verdicts_are_of_the_claims_as_they_are_today():
    records, _ = read_verdicts(bundled.folder("results") / DEFAULT / "verdicts.json")
    claims = load_claims()
    today = {r.key: claims[r.id].source_hash(cast(Kind, r.kind)) for r in records}
    assert {r.key: r.claim_hash for r in records} == today
