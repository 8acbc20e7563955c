import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.synthetic_results import results

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MOVED = {"query_count": 0.5, "key_count": 0.8, "surge": 6.0, "sink": 0.6, "peak": 0.5, "entropy": 0.4, "massive": 0.5}


@pytest.mark.skipif(importlib.util.find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed")
@pytest.mark.parametrize(
    ("file", "schema"),
    [*((file, "vendor.github-workflows") for file in WORKFLOWS), (ROOT / "action.yml", "vendor.github-actions")],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_workflow_files_follow_the_published_schema(file, schema):
    line = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_input_that_the_workflow_gives_is_one_of_the_action():
    jobs = [job for file in WORKFLOWS for job in yaml.safe_load(file.read_text())["jobs"].values()]
    using = [step for job in jobs for step in job["steps"] if step.get("uses") == "./"]
    assert using
    for step in using:
        assert set(step["with"]) <= set(ACTION["inputs"])


def test_no_script_interpolates_an_expression():
    steps = [
        step for file in WORKFLOWS for job in yaml.safe_load(file.read_text())["jobs"].values() for step in job["steps"]
    ]
    for step in [*ACTION["runs"]["steps"], *steps]:
        assert "${{" not in step.get("run", ""), step.get("name")


def script(step, given):
    """The commands of a step of the action, and its environment with the expressions filled in."""
    found = next(entry for entry in ACTION["runs"]["steps"] if entry.get("name") == step)
    filled = {
        name: re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda m: given.get(m[1], ""), value)
        for name, value in found["env"].items()
    }
    return found["run"], filled


def act(step, given, tmp_path):
    commands, filled = script(step, given)
    bin_of_python = Path(sys.executable).parent
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    env = (
        clean
        | filled
        | {
            "CI": "true",
            "PATH": os.pathsep.join([str(tmp_path), str(bin_of_python), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        }
    )
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", commands],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        check=False,
        timeout=600,
    )


@pytest.mark.skipif(os.name == "nt", reason="the action's steps are bash")
def test_the_steps_of_the_action_run_by_hand_judge_report_and_give_the_status(tmp_path):
    old = results(tmp_path / "old", plant={"drope": MOVED})
    new = results(tmp_path / "new", plant={"drope": MOVED | {"query_count": 1.2}})
    given = {"inputs.results": str(new), "inputs.baseline": str(old), "runner.temp": str(tmp_path)}
    act("Judge", given, tmp_path)
    outputs = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    assert outputs["status"] == "1"
    reported = act("Report", given, tmp_path)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    made = {file.name for file in Path(outputs["report"]).iterdir()}
    assert {"FINDINGS.md", "report.html", "badge.json", "summary.md", "diff.md", "junit.xml", "verdicts.json"} <= made
    shown = (tmp_path / "summary").read_text()
    assert "verdict changed | supported → contradicted" in shown
    assert len(shown.encode()) < 2**20
    unexpected = re.findall(r"^- `(.*?)`: (.*?):", shown, re.MULTILINE)  # the baseline has contradicted records, too
    assert {state for _, state in unexpected} == {"verdict changed"}
    assert act("Status", given | {"steps.judge.outputs.status": "1"}, tmp_path).returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="the action's steps are bash")
def test_claims_of_a_users_own_are_passed_on_to_the_report_and_the_comparison(tmp_path):
    (tmp_path / "dropeact-report").mkdir()
    stand_in = tmp_path / "dropeact"
    stand_in.write_text(f'#!/bin/bash\necho "$*" >> {tmp_path}/asked\ntouch {tmp_path}/dropeact-report/summary.md\n')
    stand_in.chmod(0o755)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "verdicts.json").touch()
    given = {"inputs.results": str(tmp_path / "new"), "inputs.baseline": "old", "runner.temp": str(tmp_path)}
    run = act("Report", given | {"inputs.options": "--allow-untestable\n--claims=my own.py\n"}, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 5
    assert all(" --claims=my own.py" in line and "--allow" not in line for line in asked)


@pytest.mark.skipif(os.name == "nt", reason="the action's steps are bash")
@pytest.mark.parametrize(
    ("there", "wanted"),
    [("", "--method POST repos/o/r/issues/7/comments"), ("31\n32\n", "--method PATCH repos/o/r/issues/comments/31")],
    ids=["the first comment", "the same comment again"],
)
def test_one_comment_is_kept_up_to_date_and_fits(there, wanted, tmp_path):
    report = tmp_path / "dropeact-report"
    report.mkdir()
    (report / "diff.md").write_text("| moved | → |\n" * 20_000)
    (report / "summary.md").write_text("✔ supported\n" * 20_000)
    (tmp_path / "there").write_text(there)
    stand_in = tmp_path / "gh"  # GitHub's own command, which needs the network
    stand_in.write_text(
        f'#!/bin/bash\necho "$*" >> {tmp_path}/asked\n[[ "$*" != *--paginate* ]] || cat {tmp_path}/there\n'
    )
    stand_in.chmod(0o755)
    given = {
        "inputs.artifact": "claims",
        "runner.temp": str(tmp_path),
        "github.repository": "o/r",
        "github.event.pull_request.number": "7",
    }
    run = act("Comment", given, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    comment = (report / "comment.md").read_text()
    assert comment.startswith("<!-- dropeact claims -->\n| moved")
    assert 59_000 < len(comment.encode()) <= 60_000
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2
    assert wanted in asked[1]


@pytest.mark.skipif(os.name == "nt", reason="the action's steps are bash")
def test_unusable_results_are_status_2(tmp_path):
    given = {"inputs.results": str(tmp_path / "nowhere"), "runner.temp": str(tmp_path)}
    run = act("Judge", given, tmp_path)
    assert "status=2" in (tmp_path / "output").read_text()
    assert "expected stored results" in run.stdout + run.stderr
