"""Figures painted by a second process, against those of one."""

import sys
from pathlib import Path

import pytest

from dropeact.report import folder, html, painting
from tests.synthetic_results import results


def written(home: Path, **how) -> dict[str, bytes]:
    """All that a report of planted results writes, file by file."""
    directory = results(home)
    folder.write(directory, **how)
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.suffix != ".nc" and p.is_file()
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return written(tmp_path_factory.mktemp("alone"))


def test_a_report_of_two_processes_has_the_bytes_of_one(alone, tmp_path, monkeypatch):
    seen = []
    paint = folder.gallery
    monkeypatch.setattr(
        folder,
        "gallery",
        lambda *a, painted, **how: paint(*a, painted=lambda: seen.append(painted()) or seen[-1], **how),
    )
    assert written(tmp_path, processes=2) == alone
    assert seen == [True]


def test_a_page_of_two_processes_has_the_bytes_of_one(tmp_path):
    one, two = (html.write_html(results(tmp_path), output=tmp_path / f"{n}.html", processes=n) for n in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_where_the_second_process_fails_the_first_paints(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    assert written(tmp_path, processes=2) == alone


@pytest.mark.parametrize(("processes", "replace", "begun"), [(1, True, 0), (2, True, 1), (2, False, 0)])
def test_a_second_process_begins_where_it_may_and_something_is_to_paint(
    tmp_path, monkeypatch, processes, replace, begun
):
    (tmp_path / "there.svg").touch()
    started = []
    real = painting.subprocess.Popen
    monkeypatch.setattr(painting.subprocess, "Popen", lambda line, **how: started.append(line) or real(["true"], **how))
    with painting.painting(tmp_path, tmp_path, replace=replace, processes=processes) as painted:
        assert painted() == bool(begun)
    assert len(started) == begun


def test_nothing_paints_on_after_an_error(tmp_path, monkeypatch):
    processes = []
    real = painting.subprocess.Popen
    monkeypatch.setattr(
        painting.subprocess,
        "Popen",
        lambda line, **how: processes.append(real(["sleep", "60"], **how)) or processes[-1],
    )
    with pytest.raises(KeyError), painting.painting(tmp_path, tmp_path, replace=True, processes=2):
        raise KeyError
    assert processes[0].returncode != 0
