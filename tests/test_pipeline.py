"""The pipeline that the package's docstring shows, run as written on tiny checkpoints and half of the passages."""

import doctest
from pathlib import Path

import pytest

import dropeact
from dropeact import corpus, pairs
from dropeact.store import Store
from tests.checkpoints import tiny


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder to work in, where the pair is tiny and the corpus has 16 passages."""
    checkpoints = [str(tiny.saved(tmp_path / name, layers=3, seed=seed)) for seed, name in enumerate(("a", "b"))]
    passages = corpus.passages()[:16]
    monkeypatch.setattr(pairs, "load", lambda name: pairs.of(*checkpoints))
    monkeypatch.setattr(corpus, "passages", lambda: passages)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_calls_of_the_packages_docstring_run_as_written(small):
    example = doctest.DocTestParser().get_doctest(dropeact.__doc__ or "", {}, "dropeact", None, None)
    assert [line.source.partition("(")[0] for line in example.examples[-4:]] == [
        "measure_pair", "tree = dropeact.open", "records = verdicts.judge", "page = report.write",
    ]  # fmt: skip
    result = doctest.DocTestRunner().run(example, clear_globs=False)
    assert (result.failed, result.attempted) == (0, 9)
    assert {"rope", "dropped", "drope"} == set(example.globs["tree"].children)
    assert len(example.globs["records"]) > 20
    assert example.globs["page"] == Path("runs/mine/FINDINGS.md")
    assert Store(small / "runs" / "mine").read_run()["texts"] == 16
