"""What the options of `pytest -m claims` ask for: results to judge, a pair to measure, or one line of refusal."""

from pathlib import Path

import pytest

from dropeact.axes import InputError
from fixtures.options import asked, pytest_addoption
from fixtures.verdicts import requested
from tests.synthetic_results import results

HOW = ["--texts=mine.jsonl", "--only=long", "--lengths=4096", "--numbers=4", "--device=cpu", "--dtype=float32"]


def given(*words):
    """The options as pytest itself reads them."""
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    return parser.parse(list(words))


@pytest.mark.parametrize("pair", [[], ["--pair=smollm2-135m"]], ids=["default pair", "its name"])
@pytest.mark.parametrize("how", HOW)
def test_how_to_measure_is_refused_where_accepted_results_are_judged(how, pair):
    name = how.partition("=")[0]
    with pytest.raises(InputError, match=f"expected --fresh or --out=DIR beside {name}; got neither"):
        asked(given(how, *pair))


@pytest.mark.parametrize("how", [*HOW, "--out=run", "--fresh"])
def test_how_to_measure_is_refused_beside_stored_results(how, tmp_path):
    with pytest.raises(InputError, match=f"expected --results alone; got {how.partition('=')[0]} with it"):
        asked(given(f"--results={results(tmp_path)}", how))


@pytest.mark.parametrize("how", ["--arm=foo", "--dtype=float16"])
def test_a_word_that_an_option_does_not_know_is_one_line(how):
    with pytest.raises(InputError, match=f"expected {how.partition('=')[0]} among .*; got '{how.partition('=')[2]}'"):
        asked(given("--fresh", how))


def test_another_arm_than_that_of_the_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected --arm=first, the arm of .*; got bos; add --fresh"):
        asked(given("--arm=bos"))
    stored = f"--results={results(tmp_path)}"
    with pytest.raises(InputError, match="got bos"):
        asked(given(stored, "--arm=bos"))
    assert asked(given(stored, "--arm=first")).arm == asked(given("--arm=first")).arm == "first"


@pytest.mark.parametrize("way", [["--fresh"], ["--out=run"], ["--pair=llama2-7b"], ["--rope=a", "--drope=b"]])
def test_whatever_measures_takes_every_way_of_measuring(way):
    option = given(*way, *HOW, "--arm=bos")
    run = asked(option)
    assert run.measure
    request = requested(run, option)
    assert (request.texts, request.sets, request.lengths, request.device) == ("mine.jsonl", "long", (4096,), "cpu")
    assert (request.dtype, request.first_tokens) == ("float32", "bos")


def test_without_options_the_accepted_results_are_judged_and_core_would_be_measured():
    assert not asked(given()).measure
    fresh = given("--fresh")
    assert asked(fresh).results == Path("runs/smollm2-135m")
    request = requested(asked(fresh), fresh)
    assert (request.chosen_sets, request.dtype, request.lengths) == (("core",), "float32", ())


@pytest.mark.parametrize("name", ["results", "pair", "rope", "baseline", "out", "texts", "only", "device", "claims"])
def test_an_option_without_a_value_is_refused_and_not_taken_for_one_that_was_left_out(name):
    with pytest.raises(InputError, match=f"expected a value behind --{name}=; got none"):
        asked(given(f"--{name}="))


def test_sets_may_have_spaces_between_them():
    option = given("--fresh", "--only=core, observe")
    assert requested(asked(option), option).chosen_sets == ("core", "observe")
    empty = given("--fresh", "--only=core,")
    with pytest.raises(InputError, match=r"expected sets of core, .*; got ''; correct --only"):
        _ = requested(asked(empty), empty).chosen_sets
