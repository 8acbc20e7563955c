"""The command as a shell meets it: examples in every help text, completion, and the page that --open shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dropeact import published
from dropeact.cli import app, main
from dropeact.cli.judging import claim_ids
from dropeact.cli.options import pair_names
from dropeact.measurements import plan
from tests.synthetic_results import results

COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands if command.callback)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_text_has_an_example_of_the_command(command):
    text = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100"}).stdout.split())
    assert f"dropeact {command}" in text.partition("Example")[2]


def test_the_first_help_text_has_examples():
    assert "dropeact explain" in " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())


def test_the_shell_completes_claims_and_pairs_against_the_catalogue():
    assert claim_ids("sink-rate") == [id for id in published.claims() if id.startswith("sink-rate")]
    assert "smollm2-135m" in pair_names("")
    asked = {"COMP_WORDS": "dropeact explain massive-q", "COMP_CWORD": "2", "_DROPEACT_COMPLETE": "complete_bash"}
    code = "from dropeact.cli import app; app(prog_name='dropeact')"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | asked, check=False
    )
    assert run.stdout.split() == claim_ids("massive-q")


def test_open_writes_the_page_and_launches_it(tmp_path, monkeypatch):
    folder = results(tmp_path)
    launched = []
    monkeypatch.setattr(typer, "launch", launched.append)
    run = CliRunner().invoke(app, ["report", str(folder), "--open"])
    assert run.exit_code == 0
    page = Path(run.stdout.strip())
    assert page.read_text().startswith("<!doctype html>")
    assert launched == [page.resolve().as_uri()]


def test_a_terminal_without_unicode_shows_what_it_can():
    run = subprocess.run(
        [sys.executable, "-m", "dropeact", "explain", "massive-query-reduction"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"region     ratio ? 0.950" in run.stdout


@pytest.mark.parametrize(
    "words", [["explain", "sink-rate-rope", "--results="], ["measure", "--out="], ["verify", "--pair="]]
)
def test_an_option_without_a_value_is_one_line_and_status_2(words):
    run = subprocess.run([sys.executable, "-m", "dropeact", *words], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"dropeact: expected a value behind {words[-1]}; got none; give one, or leave the option out\n"


@pytest.mark.parametrize(
    ("words", "behind"),
    [
        (["measure", "--out=run", "--pair", ""], " behind --pair"),
        (["explain", "sink-rate-rope", "--results", ""], " behind --results"),
        (["report", ""], " behind report"),
        (["verify", "--claims", ""], " behind --claims"),
        ([""], ""),
    ],
    ids=" ".join,
)
def test_an_empty_word_is_one_line_and_status_2_and_not_taken_for_the_default_or_this_folder(
    words, behind, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(results(tmp_path))
    monkeypatch.setattr(sys, "argv", ["dropeact", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = f'dropeact: expected a value{behind}; got ""; give one, or leave it out\n'
    assert (ended.value.code, capsys.readouterr().err) == (2, said)


def test_an_interrupted_command_is_one_line_and_the_shells_status(monkeypatch, capsys, tmp_path):
    def interrupted(request, out):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "measure_pair", interrupted)
    monkeypatch.setattr(sys, "argv", ["dropeact", "measure", f"--out={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err.count("\n")) == (130, 1)
