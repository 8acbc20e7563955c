"""What passes and what fails beside the accepted verdicts."""

import tomllib
from dataclasses import replace

import pytest

from dropeact.axes import InputError
from dropeact.estimators.regions import most
from dropeact.verdicts import claim, expected, judge, load_claims
from dropeact.verdicts.expected import Expected
from tests.synthetic_results import results


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = results(tmp_path_factory.mktemp("planted"))
    return judge(folder, claims={"sink-rate-rope": load_claims()["sink-rate-rope"]})[0]


def accepting(record, verdict, *, complete=False):
    return Expected(True, {}, {record.key: verdict}, complete)


def test_the_accepted_verdict_passes_and_another_fails(record):
    assert accepting(record, "supported").complaint(record) == ""
    assert "expected contradicted (accepted); got supported" in accepting(record, "contradicted").complaint(record)
    assert "new record" in Expected(True).complaint(record)


def test_a_claim_that_ends_with_an_error_fails_whatever_was_accepted(record):
    broken = replace(record, verdict="untestable", reason="error: AttributeError: no such thing")
    assert "AttributeError" in accepting(record, "untestable").complaint(broken)
    assert "AttributeError" in Expected().complaint(broken, allow_untestable=True)
    failed_control = replace(broken, reason="the first token's norm was not removed")
    assert accepting(record, "untestable").complaint(failed_control) == ""


def test_only_untestable_claims_are_let_pass_on_request(record):
    untestable = replace(record, verdict="untestable", reason="one text")
    assert Expected().complaint(untestable) == "untestable: one text"
    assert Expected().complaint(untestable, allow_untestable=True) == ""
    contradicted = replace(record, verdict="contradicted", reason="too small")
    assert Expected().complaint(contradicted, allow_untestable=True) == "contradicted: too small"
    accepted = accepting(record, "supported").complaint(untestable, allow_untestable=True)
    assert accepted == "expected supported (accepted); got untestable: one text"


def test_a_set_that_was_not_measured_passes_except_in_the_accepted_results_themselves(record):
    lacking = replace(record, verdict="not measured", reason="the set was not measured")
    assert accepting(record, "supported").complaint(lacking) == ""
    assert "got not measured" in accepting(record, "supported", complete=True).complaint(lacking)
    assert accepting(record, "not measured", complete=True).complaint(lacking) == ""


def test_an_accepted_verdict_without_its_claim_is_named(record):
    lock = Expected(True, {}, {record.key: "supported", "gone[direction]": "contradicted"})
    assert list(lock.orphans([record.key])) == ["gone[direction]"]
    assert "expected contradicted (accepted)" in lock.orphans([record.key])["gone[direction]"]


def test_a_claim_of_ones_own_beside_a_lock_passes_as_on_a_pair_without_one(record):
    own = replace(record, id="mine")
    beside = accepting(record, "supported").beside([own])
    assert beside.complaint(own) == beside.complaint(record) == ""
    assert beside.complaint(replace(own, verdict="contradicted", reason="too small")) == "contradicted: too small"
    assert "new record" in beside.complaint(replace(record, id="another"))


def test_what_a_pair_without_a_lock_lets_pass(record):
    words = ("supported", "inconclusive", "not applicable", "not measured", "contradicted", "untestable")
    passing = [word for word in words if not Expected().complaint(replace(record, verdict=word))]
    assert passing == ["supported", "inconclusive", "not applicable", "not measured"]


def test_the_text_of_a_lock_has_every_verdict_and_the_size_of_every_family_against_hand_count(record):
    record = replace(record, exact=False)
    records = [
        replace(record, id="z", family="two"),
        replace(record, id="b", family="two", verdict="untestable"),
        replace(record, id="c", family="two", verdict="not applicable"),  # outside its family
        replace(record, id="d", family="two", exact=True),  # and so is this one
        replace(record, id="a", family="one", verdict="inconclusive"),
    ]
    text = expected.as_toml(records)
    assert tomllib.loads(text)["families"] == {"one": 1, "two": 2}
    assert list(tomllib.loads(text)["families"]) == ["one", "two"]
    verdicts = [(f"{r.id}[{r.kind}]", r.verdict) for r in sorted(records, key=lambda r: r.id)]
    assert list(tomllib.loads(text)["verdicts"].items()) == verdicts


def test_a_lock_is_read_back_as_it_was_written_and_a_damaged_one_is_one_line(record, tmp_path, monkeypatch):
    record = replace(record, exact=False)
    monkeypatch.setattr(expected, "path", lambda pair: tmp_path / f"{pair}.toml")
    assert expected.load("none") == Expected()
    (tmp_path / "own.toml").write_text(expected.as_toml([record]))
    assert expected.load("own") == Expected(True, {record.family: 1}, {record.key: record.verdict})
    for damaged in ("[families", "[families]", "[verdicts]"):
        (tmp_path / "own.toml").write_text(damaged)
        with pytest.raises(InputError, match=r"expected \[families\] and \[verdicts\]; got .*own.toml.*; restore it"):
            expected.load("own")


def test_a_word_that_no_claim_knows_is_refused_where_it_is_declared():
    for word in ("set", "layers", "kind"):
        with pytest.raises(InputError, match=f"expected {word}= of claim 'mine' among .*; got 'observed'"):
            claim("mine", region=most(), **{word: "observed"})  # pyright: ignore[reportArgumentType] - refused
