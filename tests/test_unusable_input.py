"""What a user can get wrong on each subcommand: one line with the remedy, status 2, no traceback."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dropeact import pairs
from dropeact.axes import InputError
from dropeact.checkpoints.load import check_device, load
from dropeact.checkpoints.options import Options, check_places, unfinished
from dropeact.cli import main
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.one_model import MissingMeasurement
from dropeact.pairs import Pair
from dropeact.report.render import relative
from dropeact.report.tables import complete
from dropeact.store import Store
from dropeact.verdicts import registry
from dropeact.verdicts.registry import load_claims
from tests.checkpoints import tiny
from tests.synthetic_results import results


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command; its status and what it says on the error channel."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dropeact", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


MEASURE = ["measure", "--pair=smollm2-135m", "--out=run", "--dry-run"]
RECALIBRATE = ["recalibrate", "embedded:smollm2-135m", "new", "--corpus=none.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*MEASURE, "--device=foo"], "expected a device like cuda, cuda:0, mps, cpu or auto; got 'foo'"),
        ([*MEASURE, "--device=cpu:7"], "got 'cpu:7'; name one of them"),
        ([*MEASURE, "--device=meta"], "got 'meta'; name one of them"),
        ([*MEASURE, "--dtype=foo"], "expected --dtype among float32, bfloat16; got 'foo'"),
        ([*MEASURE, "--dtype=int8"], "expected --dtype among float32, bfloat16; got 'int8'"),
        ([*MEASURE, "--arm=foo"], "expected --arm among first, bos, separator; got 'foo'"),
        (["measure", "--rope=a", "--drope=b", "--out=run", "--arm=foo"], "expected --arm among first, bos, separator"),
        ([*MEASURE, "--only=foo"], "got 'foo'; correct --only"),
        ([*MEASURE, "--lengths=512"], "expected --only=long beside --lengths"),
        ([*MEASURE, "--numbers=4"], "expected --only=long beside --numbers"),
        ([*MEASURE, "--only=long", "--lengths=512", "--numbers=1"], "2 or more, in --numbers; got 1;"),
        ([*MEASURE, "--only=long", "--lengths=512", "--numbers=few"], "in --numbers; got 'few'; write it like 4"),
        (
            [*MEASURE, "--only=long", f"--lengths={'1' * 5000}"],
            "in --lengths; got '111111111' and 4991 characters more",
        ),
        ([*MEASURE, "--only=long", "--lengths=512", f"--numbers={'1' * 5000}"], "in --numbers; got '111111111' and"),
        (["harness", "--tasks=,", "--out=run"], "expected a task in --tasks"),
        (["harness", "--tasks=a", "--limit=0", "--out=run"], "expected a --limit of 1 or more; got 0"),
        (["harness", "--tasks=a", "--dtype=foo", "--out=run"], "expected --dtype among"),
        ([*RECALIBRATE, "--tokens=512", "--snapshots=a"], "expected shares in --snapshots; got 'a'"),
        ([*RECALIBRATE, "--tokens=512", "--evaluations=0"], "expected --evaluations of 1 or more; got 0"),
        ([*RECALIBRATE, "--tokens=512", "--micro-batch=0"], "expected --micro-batch of 1 or more; got 0"),
        (["diff", "a", "b", "--json", "--md"], "expected --json or --md"),
        (["audit", "--json", "--md"], "expected --json or --md"),
        (["report", "a", "--baseline=b"], "expected --summary or --badge beside --baseline; got neither"),
        (["report", "a", "--badge", "--html"], "expected one of --html, --open, --summary and --badge"),
        (["report", "a", "--summary", "--badge"], "expected one of --html, --open, --summary and --badge"),
    ],
    ids=lambda value: " ".join(value)[:100] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_line_and_status_2(arguments, message, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = command(*arguments)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("dropeact: expected")
    assert message in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", 0), ("length", 1), ("batch", 0), ("micro_batch", -1), ("warmup_steps", -1), ("seed", -1),
        ("lora_rank", 0), ("corpus_tokens", 0), ("heldout_windows", 0), ("evaluations", 0), ("save_every", 0),
        ("learning_rate", 0.0), ("learning_rate", float("nan")), ("softmax_scale", -1.0), ("snapshots", (0.0,)),
        ("snapshots", (1.5,)), ("snapshots", (float("nan"),)),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_by_its_option(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}"):
        Options(**({"source": "a", "destination": "b", "corpus": "c", "tokens": 512} | {name: value}))


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_damaged_options_of_an_unfinished_run_are_named(tmp_path, text):
    begun = unfinished(str(tmp_path / "new")) / "options.json"
    begun.parent.mkdir()
    begun.write_text(text)
    with pytest.raises(InputError, match=f"expected the options of a run in {begun}; got a damaged file"):
        check_places(Options("a", str(tmp_path / "new"), "c", tokens=512))


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("inf"), float("nan")])
def test_a_budget_that_never_ends_or_begins_is_refused(minutes):
    with pytest.raises(InputError, match="--budget-minutes"):
        Options("a", "b", "c", budget_minutes=minutes)


def test_a_device_that_torch_does_not_see_is_refused_before_the_checkpoint(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"torch sees here \(.*cpu\); got 'cuda'; name one"):
        load("nowhere", device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda")
    check_device(torch.device("cuda:1"))
    with pytest.raises(InputError, match=r"2 cuda.*got 'cuda:2'"):
        check_device("cuda:2")


def test_a_separator_that_the_tokenizer_lacks_is_named(tmp_path):
    checkpoint = str(tiny.saved(tmp_path / "model"))
    measuring = Measuring(Request(Pair("x", checkpoint, checkpoint, separator="<none>")), Store(tmp_path / "run"))
    with pytest.raises(InputError, match=r"expected a separator that the tokenizer of .* has; got '<none>'"):
        measuring.separator_id("rope")
    known = Measuring(Request(Pair("x", checkpoint, checkpoint, separator=tiny.SEPARATOR)), Store(tmp_path / "run"))
    assert known.separator_id("rope") == 0


def test_models_of_different_depth_are_refused_before_anything_is_measured(tmp_path, command):
    pair = [f"--{name}={tiny.saved(tmp_path / name, layers=layers)}" for name, layers in (("rope", 2), ("drope", 3))]
    status, said = command("measure", *pair, f"--out={tmp_path / 'run'}")
    assert status == 2
    assert said.endswith("expected two models with as many layers; got 2 and 3; choose a pair made from one parent\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["x", 2.5, -3, True])
def test_a_config_whose_count_is_none_is_named_before_its_size_is_worked_out(tmp_path, command, value):
    checkpoint = tiny.saved(tmp_path / "model")
    file = checkpoint / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": value}))
    pair = [f"--rope={checkpoint}", f"--drope={checkpoint}"]
    status, said = command("measure", *pair, f"--out={tmp_path / 'run'}", "--dry-run")
    assert status == 2
    assert said.endswith(f"num_hidden_layers in config.json of {checkpoint}; got {value!r}; correct it\n")


@pytest.mark.parametrize("arguments", [["report", "--summary"], ["diff"]], ids=lambda words: words[0])
def test_results_of_which_a_part_may_not_be_read_are_refused_and_not_judged(tmp_path, command, monkeypatch, arguments):
    folder, listdir = results(tmp_path), os.listdir
    column = folder / "store" / "rope"

    def refused(path="."):
        if column in (Path(path), *Path(path).parents):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    others = [folder] if arguments == ["diff"] else []
    status, said = command(*arguments, *others, folder)
    assert (status, said.count("\n")) == (2, 1)
    assert f"expected to read {column}/passages-first; got permission denied" in said


def test_a_pair_whose_tokenizers_read_texts_differently_is_refused_before_anything_is_measured(tmp_path, command):
    rope, drope = (tiny.saved(tmp_path / name) for name in ("rope", "drope"))
    file = drope / "tokenizer.json"
    body = json.loads(file.read_text())
    words = sorted(body["model"]["vocab"], key=body["model"]["vocab"].get)
    body["model"]["vocab"] |= {words[-1]: len(words) - 2, words[-2]: len(words) - 1}  # two words change places
    file.write_text(json.dumps(body))
    (tmp_path / "own.txt").write_text("\n\n".join(tiny.documents(16, words=900)))
    where = [f"--rope={rope}", f"--drope={drope}", f"--out={tmp_path / 'run'}", f"--texts={tmp_path / 'own.txt'}"]
    status, said = command("measure", *where)
    assert status == 2
    assert "to read texts as the same tokens; got others for text-01" in said
    assert not Store(tmp_path / "run").files()


def test_texts_of_the_other_half_that_are_too_short_are_refused_before_anything_is_measured(tmp_path, command):
    checkpoint = tiny.saved(tmp_path / "model")
    long, short = tiny.documents(16, words=900), tiny.documents(16, words=20, seed=1)
    texts = [(short if number % 2 else long)[number] for number in range(16)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    where = [f"--rope={checkpoint}", f"--drope={checkpoint}", f"--out={tmp_path / 'run'}"]
    status, said = command("measure", *where, f"--texts={tmp_path / 'own.jsonl'}")
    assert status == 2
    assert "text-02" in said
    assert not Store(tmp_path / "run").files()


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused_before_the_model_reads_one(tmp_path):
    model = tiny.llama()
    model.resize_token_embeddings(100)
    model.save_pretrained(tmp_path / "small")
    tiny.tokenizer().save_pretrained(tmp_path / "small")
    request = Request(pairs.of(str(tmp_path / "small"), str(tmp_path / "small")))
    with pytest.raises(InputError, match=r"has embeddings of, 100 of them; got the id \d{3}; put the model's own"):
        Measuring(request, Store(tmp_path / "run")).tokens("rope", "passages", "A", 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", r"SyntaxError: .*line 1"),
        ("import dropeact\n\nundefined\n", r"NameError: name 'undefined' is not defined \(line 3\)"),
        ("import no_such_module\n", r"No module named 'no_such_module' \(line 1\)"),
        ("raise SystemExit(3)\n", r"SystemExit: 3 \(line 1\)"),
    ],
)
def test_claims_that_cannot_be_imported_name_the_file_and_the_line(tmp_path, text, message):
    file = tmp_path / "test_mine.py"
    file.write_text(text)
    with pytest.raises(InputError, match=f"expected claims that can be imported from {file}; got .*{message}"):
        load_claims([file])


def test_a_file_that_claims_nothing_is_refused_and_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    file = tmp_path / "mine.py"
    file.write_text('def my_own(measured):\n    """Most heads are sinks."""\n')
    with pytest.raises(InputError, match=f"expected a claim in {file}; got none; decorate its function with @claim"):
        load_claims([file])
    (tmp_path / "test_words.py").write_text("WORDS = 3\n")
    (tmp_path / "test_claims.py").write_text(OWN.replace("my-own", "in-a-folder"))
    assert "in-a-folder" in load_claims([tmp_path])


@pytest.mark.parametrize("html", [[], ["--html"]], ids=["markdown", "html"])
def test_a_report_on_results_without_a_column_names_what_is_missing(tmp_path, command, html):
    folder = results(tmp_path)
    shutil.rmtree(folder / "store" / "dropped")
    status, said = command("report", folder, *html)
    assert (status, said.count("\n")) == (2, 1)
    assert f"expected complete results in {folder}; got no measurement dropped/passages-first/observations" in said
    assert not (folder / "FINDINGS.md").exists()


@pytest.mark.parametrize("arguments", [["report"], ["report", "--html"], ["report", "--summary"], ["accept"]])
def test_results_whose_run_json_is_empty_are_one_line_and_status_2(tmp_path, command, arguments):
    (tmp_path / "run.json").write_text("{}")
    status, said = command(arguments[0], tmp_path, *arguments[1:])
    assert (status, said.count("\n")) == (2, 1)
    assert f"expected 'pair' in {tmp_path}/run.json" in said


def test_results_of_other_weights_are_told_with_one_remedy(tmp_path):
    message = r"got no measurement rope/x: of other weights; measure again into that folder$"
    with pytest.raises(InputError, match=message), complete(tmp_path):
        raise MissingMeasurement("rope/x: of other weights; measure it again")


OWN = """from dropeact.estimators import mean
from dropeact.estimators.regions import most
from dropeact.verdicts import claim


@claim("my-own", region=most(), experiment="own")
def my_own(measured):
    '''Most heads are sinks.'''
    return mean(measured.rope.sink_rate().mean("layer"), unit="rate")
"""


def test_claims_of_a_users_own_are_reported_and_compared_and_never_dropped_in_silence(tmp_path):
    folder = results(tmp_path / "run", texts=8, cells=("observations", "disruption"))
    (tmp_path / "mine.py").write_text(OWN)
    own = f"--claims={tmp_path / 'mine.py'}"

    def dropeact(*arguments):
        line = [sys.executable, "-m", "dropeact", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    assert dropeact("report", folder, own).stderr == ""
    assert '"my-own"' in (folder / "verdicts.json").read_text()
    same = dropeact("diff", folder, folder, own)
    assert (same.returncode, "orphaned" in same.stdout) == (0, False)
    plain = dropeact("report", folder)
    assert (plain.returncode, plain.stderr.count("\n")) == (0, 1)
    assert (
        f"expected the claims that {folder}/verdicts.json held; got none for my-own; give --claims=FILE" in plain.stderr
    )


def test_python_without_docstrings_is_told_so(tmp_path):
    line = [sys.executable, "-OO", "-m", "dropeact", "report", str(results(tmp_path, texts=4, cells=()))]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "got Python started with -OO; start it without" in run.stderr


def test_links_hold_where_a_path_has_spaces_and_parentheses(tmp_path):
    target = tmp_path / "FINDINGS.md"
    assert relative(tmp_path / "my run (2)" / "figures" / "loss.svg", target) == "my%20run%20%282%29/figures/loss.svg"


@pytest.mark.parametrize(
    "arguments", [["report"], ["report", "--html"], ["report", "--badge"], ["accept"]], ids=" ".join
)
def test_results_of_a_run_that_never_ended_are_refused_and_nothing_is_written(tmp_path, command, arguments):
    folder = results(tmp_path, texts=4, cells=())
    status, said = command(arguments[0], folder, *arguments[1:])
    assert (status, said.count("\n")) == (2, 1)
    assert {file.name for file in folder.iterdir()} == {"run.json"}


def test_judging_a_run_that_never_ended_is_one_line_and_does_not_pass(tmp_path):
    folder = results(tmp_path, texts=4, cells=("observations",))
    store = Store(folder)
    store.write_run(store.read_run() | {"sets": []})
    line = [sys.executable, "-m", "dropeact", "verify", f"--results={folder}"]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert (
        f"dropeact: expected a run that has ended; got {folder}; the same measuring command completes it" in run.stderr
    )


def test_accepting_results_without_a_store_changes_nothing(tmp_path, command):
    folder = results(tmp_path)
    shutil.rmtree(folder / "store")
    status, said = command("accept", folder)
    assert (status, said.count("\n")) == (2, 1)
    assert f"expected stored results in {folder}" in said


def test_the_known_pairs_hold_under_the_checks_of_a_pair_file():
    for pair in pairs.known().values():
        assert pairs.from_dict(pair.as_dict()) == pair
