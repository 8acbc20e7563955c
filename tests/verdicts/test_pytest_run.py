"""The interface as a user meets it: pytest in a process of its own, on planted results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dropeact import corpus
from dropeact.report.explain import explained
from dropeact.verdicts import registry
from tests.synthetic_results import PAIR, results

ROOT = Path(__file__).parents[2]
ACCEPTED = ROOT / "results" / "smollm2-135m"
MOVED = {"query_count": 0.5, "key_count": 0.8, "surge": 6.0, "sink": 0.6, "peak": 0.5, "entropy": 0.4, "massive": 0.5}


def selecting(expression, *options, env=None, cwd=ROOT):
    line = [sys.executable, "-m", "pytest", "-m", expression, "-p", "no:cacheprovider", "-q", *map(str, options)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_")) and k != "CI"}
    return subprocess.run(
        line, capture_output=True, text=True, cwd=cwd, env=clean | (env or {}), timeout=300, check=False
    )


def claims(*options, env=None, cwd=ROOT):
    return selecting("claims", *options, env=env, cwd=cwd)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    moved = MOVED | {"loss": 0.0}
    return results(tmp_path_factory.mktemp("planted"), plant={"drope": moved})


def test_a_run_writes_every_record_and_ends_with_the_table(planted):
    run = claims(f"--results={planted}")
    body = json.loads((planted / "verdicts.json").read_text())
    assert body["schema"] == 1
    assert {"id", "kind", "verdict", "estimate", "low", "high", "region", "p_adjusted"} <= set(body["claims"][0])
    assert "verdicts: synthetic" in run.stdout
    assert (planted / "FINDINGS.md").is_file()
    assert (planted / "records.csv").read_text().startswith("id,kind,statement")
    table = run.stdout.split("verdicts: synthetic")[1].split("written:")[0]
    assert max(map(len, table.splitlines()[1:])) <= 100


def test_the_same_results_give_the_same_bytes(planted):
    claims(f"--results={planted}")
    files = [planted / "FINDINGS.md", planted / "verdicts.json", *sorted((planted / "figures").iterdir())]
    first = [file.read_bytes() for file in files]
    claims(f"--results={planted}")
    assert [file.read_bytes() for file in files] == first


def test_workers_judge_what_one_process_judges(planted):
    claims(f"--results={planted}")
    alone = (planted / "verdicts.json").read_text()
    run = claims(f"--results={planted}", "-n", "2")
    assert (planted / "verdicts.json").read_text() == alone
    assert "verdicts: synthetic" in run.stdout


def test_k_changes_no_verdict_and_writes_nothing(planted):
    claims(f"--results={planted}")
    stamp = (planted / "verdicts.json").stat().st_mtime_ns
    run = claims(f"--results={planted}", "-k", "massive-query-reduction")
    assert (planted / "verdicts.json").stat().st_mtime_ns == stamp
    assert "massive-query-reduction[direction]" in run.stdout
    assert "sink-rate" not in run.stdout


def test_judging_needs_neither_torch_nor_transformers(planted, tmp_path):
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} must not be imported')\n")
    run = claims(f"--results={planted}", env={"PYTHONPATH": str(tmp_path)})
    assert "verdicts: synthetic" in run.stdout
    assert "must not be imported" not in run.stdout + run.stderr


def test_a_contradicted_claim_fails_a_pair_without_accepted_verdicts(tmp_path):
    bad = results(tmp_path, plant={"drope": MOVED | {"query_count": 2.0}})
    run = claims(f"--results={bad}", "-k", "massive-query-reduction")
    assert run.returncode == 1
    assert "contradicted: opposite" in run.stdout


def test_missing_measurements_fail_unless_untestable_is_allowed(tmp_path):
    bare = results(tmp_path, cells=("observations",))
    assert claims(f"--results={bare}", "-k", "reliance").returncode == 1
    assert claims(f"--results={bare}", "-k", "reliance", "--allow-untestable").returncode == 0


OWN = """from dropeact.estimators import mean
from dropeact.estimators.regions import most
from dropeact.verdicts import claim


@claim("my-own", region=most(), experiment="own")
def my_own(measured):
    '''Most heads are sinks.'''
    return mean(measured.rope.sink_rate().mean("layer") * {share}, unit="rate")
"""


@pytest.mark.parametrize("place", ["file", "folder"])
def test_claims_of_a_users_own_are_judged_beside_the_others(planted, tmp_path, place):
    (tmp_path / "test_mine.py").write_text(OWN.format(share=1))
    own = tmp_path if place == "folder" else tmp_path / "test_mine.py"
    run = claims(f"--results={planted}", f"--claims={own}", "-k", "my-own or sink-rate-rope")
    assert run.returncode == 0
    assert "my-own[direction]" in run.stdout
    assert "2 passed" in run.stdout


def test_a_run_without_a_users_own_claims_says_which_records_it_leaves_out(tmp_path):
    folder = results(tmp_path / "run", plant={"drope": MOVED})
    (tmp_path / "mine.py").write_text(OWN.format(share=1))
    named, unnamed = claims(f"--results={folder}", f"--claims={tmp_path / 'mine.py'}"), claims(f"--results={folder}")
    line = "got none for my-own; give --claims=FILE and report again to have their records back"
    assert [line in run.stdout for run in (named, unnamed)] == [False, True]


@pytest.mark.parametrize(("share", "status"), [(1, 0), (0.01, 1)], ids=["supported", "contradicted"])
def test_claims_of_a_users_own_need_no_accepted_verdict_on_a_locked_pair(tmp_path, share, status):
    (tmp_path / "mine.py").write_text(OWN.format(share=share))
    run = claims(f"--claims={tmp_path / 'mine.py'}", "-k", "my-own")
    assert run.returncode == status, run.stdout
    shown = f"`dropeact explain my-own --results={ACCEPTED} --claims={tmp_path / 'mine.py'}`"
    assert (shown in run.stdout) == (status == 1)


@pytest.fixture
def forgotten_afterwards(monkeypatch):
    """Claims that a test registers in this process, where the tests after it would judge them, too."""
    monkeypatch.setattr(registry, "REGISTRY", registry.load_claims())


@pytest.mark.usefixtures("forgotten_afterwards")
def test_the_claim_that_the_documentation_shows_is_judged_and_explained(tmp_path):
    code = (ROOT / "docs" / "claims.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "mine.py").write_text(code)
    run = claims(f"--claims={tmp_path / 'mine.py'}", "-k", "sinks-before-the-write")
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout
    lines = explained("sinks-before-the-write", ACCEPTED, [tmp_path / "mine.py"])
    assert lines[0].endswith("Before the write layer RoPE has at most half as many sinks as after it.")
    assert any(line.split()[:2] == ["verdict", "inconclusive"] for line in lines)
    assert lines[-1].endswith(
        f"--claims={tmp_path / 'mine.py'} --out=runs/{lines[0].split(':')[0]} -k sinks-before-the-write"
    )
    texts = {passage.id for passage in corpus.passages()}
    assert {words[0] for words in map(str.split, lines) if len(words) == 3 and words[0] in texts} == texts


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_a_contradicted_claim_of_a_users_own_fails_the_run(planted, tmp_path, workers):
    (tmp_path / "mine.py").write_text(OWN.format(share=0.01))
    chosen = ["-k", "my-own or sink-rate-rope"]  # what else was planted is contradicted too
    run = claims(f"--results={planted}", f"--claims={tmp_path / 'mine.py'}", *chosen, *workers)
    assert run.returncode == 1
    assert "1 failed, 1 passed" in run.stdout
    assert "UNEXPECTED contradicted ::my-own[direction]" in run.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--results=nowhere"], "expected stored results with a run.json; got nowhere"),
        (["--pair=nope"], "expected a pair of"),
        (["--rope=a"], "expected both --rope=ID and --drope=ID"),
        (["--rope=a", "--drope=b", "--pair=smollm2-135m"], "got both"),
        (["--claims=nowhere.py"], "nowhere.py"),
        (["--texts=nowhere.jsonl", "--only=nonsense"], "expected --fresh or --out=DIR beside --texts"),
    ],
)
@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_unusable_input_is_one_line_and_status_2(options, message, workers):
    run = claims(*options, *workers)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if "dropeact:" in line]
    assert run.returncode == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_a_damaged_file_of_the_store_is_one_line_and_status_2(tmp_path):
    folder = results(tmp_path)
    damaged = folder / "store" / "rope" / "passages-first" / "observations-A.nc"
    damaged.write_bytes(damaged.read_bytes()[:500])
    run = claims(f"--results={folder}")
    lines = [line for line in (run.stdout + run.stderr).splitlines() if "dropeact:" in line]
    assert run.returncode == 2
    assert len(lines) == 1
    assert f"got a damaged {damaged}" in lines[0]
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_an_error_while_measuring_begins_is_one_line_and_status_2(tmp_path, workers):
    run = claims("--fresh", f"--texts={tmp_path}/none.txt", f"--out={tmp_path}/run", "--device=cpu", *workers)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if "none.txt" in line]
    assert run.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("Exit: dropeact: expected")


@pytest.mark.parametrize("option", ["--lf", "--ff"])
def test_what_failed_last_is_judged_again(option, planted, tmp_path):
    (tmp_path / "mine.py").write_text(OWN.format(share=0.01))
    cached = [f"--results={planted}", f"--claims={tmp_path / 'mine.py'}", "-p", "cacheprovider"]
    cached += ["-o", f"cache_dir={tmp_path / 'cache'}", "-k", "my-own or sink-rate-rope", "-v"]
    assert "1 failed, 1 passed" in claims(*cached).stdout
    again = claims(*cached, option).stdout
    assert f"rerun previous 1 failure{' first' if option == '--ff' else ''}\n" in again
    assert ("1 failed, 1 passed" in again) == (option == "--ff")
    assert "1 failed" in again


def test_a_run_json_that_may_not_be_read_is_one_line_and_status_2(tmp_path):
    (tmp_path / "run" / "run.json").mkdir(parents=True)  # root may read any file; nobody reads a folder as one
    (tmp_path / "sitecustomize.py").write_text("import pathlib\npathlib.Path.is_file = pathlib.Path.exists\n")
    for options in ([f"--results={tmp_path / 'run'}"], [f"--baseline={tmp_path / 'run'}"]):
        run = claims(*options, env={"PYTHONPATH": str(tmp_path)})
        lines = [line for line in (run.stdout + run.stderr).splitlines() if "dropeact:" in line]
        assert (run.returncode, len(lines)) == (2, 1)
        assert "expected to read" in lines[0] or "expected a readable" in lines[0]
        assert "INTERNALERROR" not in run.stdout + run.stderr


def test_a_malformed_expression_is_told_by_pytest():
    run = selecting("claims and", "tests/test_pairs.py")
    assert run.returncode == 4
    assert "Wrong expression passed to '-m'" in run.stdout + run.stderr


def test_collecting_never_measures(planted, tmp_path):
    nothing = claims("--fresh", f"--out={tmp_path / 'run'}", "--co")
    assert nothing.returncode == 2
    assert f"got {tmp_path / 'run'}; measure first" in nothing.stdout + nothing.stderr
    assert not (tmp_path / "run").exists()
    pair = tmp_path / "pair.toml"
    pair.write_text(f'name = "{PAIR.name}"\nrope = "rope"\ndrope = "drope"\n')
    listed = claims(f"--pair={pair}", "--fresh", f"--out={planted}", "--co")
    assert listed.returncode == 0
    assert "sink-rate-rope[direction]" in listed.stdout


def test_results_of_another_pair_are_refused(planted):
    run = claims(f"--results={planted}", "--pair=llama2-7b")
    assert run.returncode == 2
    assert f"got results of {PAIR.name}" in run.stdout + run.stderr


def test_an_ordinary_run_collects_tests_and_a_claims_run_claims():
    line = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    ordinary = subprocess.run(
        [*line, "tests/test_pairs.py", "claims"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "massive-query-reduction" not in ordinary.stdout
    assert "test_known_pairs" in ordinary.stdout


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("claims", True),
        ("not claims", False),
        ("claims and not slow", True),
        ("slow", False),
        ("claims or not claims", False),
        ("claims and", False),
    ],
)
def test_collection_follows_the_meaning_of_the_expression(expression, chosen):
    from fixtures.options import selects_claims

    class Config:
        def getoption(self, _name, _default=None):
            return expression

    assert selects_claims(Config()) is chosen  # pyright: ignore[reportArgumentType] - the one method it calls
