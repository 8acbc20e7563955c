"""--baseline and the commands around it, in processes of their own."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dropeact.store import Store
from dropeact.verdicts import judge
from dropeact.verdicts.records import as_json
from tests.synthetic_results import results

ROOT = Path(__file__).parents[2]
MOVED = {"query_count": 0.5, "key_count": 0.8, "surge": 6.0, "sink": 0.6, "peak": 0.5, "entropy": 0.4, "massive": 0.5}
UNWRITTEN = ("-k", "not nothing")  # every claim; a run narrowed by -k writes no report
CHANGED = "verdict changed: massive-query-reduction[direction]: supported → contradicted; 0.719"


def process(*line, ci="", paths=""):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))} | {"CI": ci}
    env = clean | ({"PYTHONPATH": paths} if paths else {})
    return subprocess.run(
        [sys.executable, "-m", *map(str, line)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=600,
        check=False,
    )


def claims(*options, **how):
    return process("pytest", "-m", "claims", "-p", "no:cacheprovider", "-q", *options, **how)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return results(tmp_path_factory.mktemp("old"), plant={"drope": MOVED})


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return results(tmp_path_factory.mktemp("new"), plant={"drope": MOVED | {"query_count": 1.2}})


def test_a_run_passes_against_itself_though_a_claim_is_contradicted(old):
    run = claims(f"--results={old}", f"--baseline={old}")
    assert run.returncode == 0, run.stdout
    verdicts = json.loads((old / "verdicts.json").read_text())["claims"]
    assert "contradicted" in {claim["verdict"] for claim in verdicts}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_a_regressed_record_fails_with_what_moved(old, new, workers):
    run = claims(f"--results={new}", f"--baseline={old}", *workers, *UNWRITTEN)
    assert run.returncode == 1
    assert CHANGED in run.stdout
    failed = set(re.findall(r"::(\S+\[\w+\])", run.stdout.split("short test summary")[1]))
    assert failed == {f"massive-{name}[direction]" for name in ("late-layers-fall", "layer1-only", "query-reduction")}


def test_an_orphaned_verdict_fails_though_no_claim_is_left_to_judge(old, tmp_path):
    records = judge(old)
    held = as_json([*records, replace(records[0], id="gone")], Store(old).read_run())
    (tmp_path / "verdicts.json").write_text(held)
    run = claims(f"--results={old}", f"--baseline={tmp_path}", "-n", "2", *UNWRITTEN)
    assert run.returncode == 1
    assert "orphaned verdict: gone[" in run.stdout


def test_no_baseline_is_one_line_and_status_2(old, tmp_path):
    run = claims(f"--results={old}", f"--baseline={tmp_path}", "-n", "2")
    lines = [line for line in (run.stdout + run.stderr).splitlines() if "dropeact:" in line]
    assert run.returncode == 2
    assert len(lines) == 1
    assert "expected stored results with a run.json" in lines[0]


def test_ci_judges_and_does_not_measure_unasked(tmp_path):
    pair = tmp_path / "pair.toml"
    pair.write_text('name = "unmeasured"\nrope = "a"\ndrope = "b"\n')
    run = claims(f"--pair={pair}", ci="true")
    assert run.returncode == 2
    assert "expected accepted results of unmeasured in CI" in run.stdout + run.stderr


def test_ci_takes_a_missing_measurement_for_an_error(tmp_path):
    bare = results(tmp_path, cells=("observations",))
    run = claims(f"--results={bare}", "--allow-untestable", "-k", "massive-query", ci="true")
    assert run.returncode == 2
    assert (run.stdout + run.stderr).count("expected every measurement to be stored in CI") == 1


def test_the_command_diff_gives_0_1_and_2_without_torch(old, new, tmp_path):
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} must not be imported')\n")
    same = process("dropeact", "diff", old, old, paths=str(tmp_path))
    moved = process("dropeact", "diff", old, new, "--json", paths=str(tmp_path))
    nothing = process("dropeact", "diff", old, tmp_path)
    assert (same.returncode, moved.returncode, nothing.returncode) == (0, 1, 2)
    assert json.loads(moved.stdout)["counts"]["verdict changed"] == 3
    assert nothing.stderr.count("\n") == 1


def test_the_command_report_writes_html_without_torch(old, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch must not be imported')\n")
    run = process("dropeact", "report", old, "--html", "-o", tmp_path / "page.html", paths=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
