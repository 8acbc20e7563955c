"""Examples run as written: the pipeline of the package's docstring on tiny checkpoints, and that of docs/results.md."""

import doctest
from pathlib import Path

import pytest

import dropeact
from dropeact import corpus, pairs
from dropeact.store import Store
from dropeact.verdicts import judge
from tests.checkpoints import tiny

ROOT = Path(__file__).parents[1]


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


def test_the_example_of_how_a_record_is_computed_prints_what_it_says(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "results.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    exec(example, {})
    printed = [float(line) for line in capsys.readouterr().out.splitlines()]
    said = [float(line.rsplit("# ", 1)[1]) for line in example.splitlines() if line.startswith("print")]
    record = next(r for r in judge(ROOT / "results" / "smollm2-135m") if r.id == "massive-query-reduction")
    assert printed == pytest.approx(said, rel=0.01, abs=0)
    assert printed == pytest.approx([record.estimate, record.p_support], rel=1e-9, abs=0)
