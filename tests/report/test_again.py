"""The commands that a report prints, read by the program itself: its option parser, its checks of a request."""

import shlex
from dataclasses import replace

import pytest
import xarray as xr

from dropeact import pairs
from dropeact.axes import HALVES
from dropeact.corpus.retrieval import DEPTHS, KEYS
from dropeact.pairs import Pair
from dropeact.report.again import command
from dropeact.report.explain import explained
from dropeact.store import Cell, Store
from dropeact.verdicts import load_claims, registry
from fixtures.options import asked, pytest_addoption
from fixtures.verdicts import requested
from tests import synthetic_results as synthetic

KNOWN = pairs.load("smollm2-135m")


def read(line):
    """What a printed command asks to measure, as pytest and the request read it."""
    *words, key, chosen = shlex.split(line)
    assert (words[:3], key) == (["pytest", "-m", "claims"], "-k")
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    option = parser.parse(words[3:])
    run = asked(option)
    assert run.measure
    return requested(run, option), run, chosen


@pytest.mark.parametrize("pair", [KNOWN, pairs.load("llama2-7b"), synthetic.PAIR], ids=lambda pair: pair.name)
@pytest.mark.parametrize("id", ["sink-rate-rope", "layer1-bos-only", "retrieval-ranking", "retrieval-rope-within"])
def test_the_printed_command_measures_the_same_checkpoints_and_the_claims_set(tmp_path, pair, id):
    claim = load_claims()[id]
    request, run, chosen = read(command(Store(tmp_path), synthetic.run_record(pair, 32), claim))
    assert (request.pair.rope, request.pair.drope) == (pair.rope, pair.drope)
    assert claim.set in request.chosen_sets
    assert (request.first_tokens, str(run.results), chosen) == (pair.primary_arm, f"runs/{id}", id)


@pytest.mark.parametrize("numbers", [4, KEYS])
def test_the_printed_command_keeps_arm_precision_and_the_stored_long_texts(numbers, tmp_path):
    store = Store(tmp_path)
    for length in (1024, 512):
        for half in HALVES:
            prompts = [f"{half}-{number}" for number in range(len(DEPTHS) * numbers // 2)]
            score = ("condition", "text", "length"), [[[1.0]] * len(prompts)]
            data = xr.Dataset({"score": score}, {"text": prompts, "condition": ["baseline"], "length": [length]})
            store.save(Cell("rope", "passages", "bos", half, f"long_retrieval.{length}"), data, {})
    told = synthetic.run_record(KNOWN, 32) | {"arm": "bos", "dtype": "bfloat16"}
    claim = next(claim for claim in load_claims().values() if claim.set == "long")
    request, *_ = read(command(store, told, claim))
    asked = request.first_tokens, request.dtype, request.lengths, request.numbers
    assert asked == ("bos", "bfloat16", (512, 1024), numbers)


@pytest.mark.parametrize(
    ("said_by", "options"), [("config", ["--rope=a", "--drope=b"]), ("pair", ["--pair=FILE.toml"])]
)
def test_a_training_length_that_the_config_says_needs_no_pair_file(said_by, options, tmp_path):
    run = synthetic.run_record(Pair("a--b", "a", "b", training_length=512), 32) | {"training_length_from": said_by}
    claim = load_claims()["retrieval-rope-collapses-beyond"]
    words = shlex.split(command(Store(tmp_path), run, claim))
    assert set(options) <= set(words)
    assert "--lengths=512,1024" in words


def test_explain_ends_with_that_command(tmp_path):
    folder = synthetic.results(tmp_path)
    last = explained("sink-rate-rope", folder)[-1]
    assert (
        last == "again: pytest -m claims --rope=rope --drope=drope --fresh --out=runs/sink-rate-rope -k sink-rate-rope"
    )
    assert read(last.removeprefix("again: "))[0].pair.rope == "rope"


def test_a_pair_that_two_checkpoints_do_not_tell_is_asked_for_by_its_file(tmp_path):
    own = replace(synthetic.PAIR, published=True, write_layer=1)
    line = command(Store(tmp_path), synthetic.run_record(own, 32), load_claims()["sink-rate-rope"])
    assert "--pair=FILE.toml" in shlex.split(line)
    assert "--rope=rope" not in line


def test_texts_of_a_users_own_are_asked_for_again(tmp_path):
    own = synthetic.run_record(KNOWN, 32) | {"corpus": "1" * 64}
    request, *_ = read(command(Store(tmp_path), own, load_claims()["sink-rate-rope"]))
    assert request.texts == "FILE"


def test_a_claim_of_a_users_own_is_asked_for_by_its_file_under_whatever_decorators(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import numpy as np\nfrom dropeact.estimators.regions import most\nfrom dropeact.verdicts import claim\n"
        '@claim("decorated", region=most())\n@np.errstate(invalid="ignore")\ndef f(measured):\n    """Stated."""\n'
    )
    claim = load_claims([mine])["decorated"]
    assert (claim.is_own, claim.file) == (True, mine)
    assert f"--claims={mine}" in shlex.split(command(Store(tmp_path), synthetic.run_record(KNOWN, 32), claim))
