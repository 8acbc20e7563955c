"""The state of one record in two runs, on records by hand: no store, no claim evaluated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dropeact.estimators import Conjunction, Estimate, Part, PValues, exact
from dropeact.estimators.regions import at_least
from dropeact.verdicts.evaluation import Evaluated
from dropeact.verdicts.registry import Claim
from dropeact.verdicts.regression import changed, compared, missing
from dropeact.verdicts.sides import Side
from tests.bare_records import BARE
from tests.synthetic_results import PAIR, run_record

KEY = "x[direction]"
RECORD = replace(BARE, id="x", kind="direction", estimate=1.0, low=0.5, high=1.5, n=32)
LACKING = replace(RECORD, verdict="not measured", reason="the set was not measured")
GONE = replace(RECORD, verdict="untestable", reason="missing measurement: atlas")
CLAIM = Claim(
    "x",
    lambda measured: exact(1.0, scale="difference", unit="x"),
    at_least(0.5, "r"),
    "direction",
    "1",
    "all",
    "core",
    "f",
    "",
)
EVALUATED = Evaluated(CLAIM, "direction", CLAIM.region, "passages", None, PValues(1.0, 1.0))


def side(*records, today=()):
    """A run with these records, of whose claims none has an outcome."""
    by_key = {record.key: record for record in records}
    evaluated = dict.fromkeys(by_key, EVALUATED)
    return Side(Path("run"), run_record(PAIR, 32), by_key, evaluated, {record.key: record for record in today})


def state(old, new):
    return changed(KEY, side(*old), side(*new)).state


def test_a_record_that_is_in_one_run_alone_against_the_table_of_states():
    assert state([RECORD], []) == "orphaned verdict"
    assert state([], [RECORD]) == "new claim"
    for lacking in (LACKING, GONE):
        assert missing(lacking)
        assert state([lacking], []) == state([], [lacking]) == "not measured"
        assert state([lacking], [lacking]) == "not measured"
        assert state([RECORD], [lacking]) == "no longer measured"
        assert state([lacking], [RECORD]) == "missing baseline"
    assert not missing(RECORD)
    assert not missing(replace(RECORD, verdict="untestable", reason="one text"))


def test_what_lacks_is_said_with_its_own_reason_and_its_verdicts_are_dashes_where_there_is_none():
    lost, won = changed(KEY, side(RECORD), side(GONE)), changed(KEY, side(LACKING), side(RECORD))
    assert lost.notes == ("missing measurement: atlas",)
    assert won.notes == ("the set was not measured",)
    assert changed(KEY, side(RECORD), side()).verdicts == ("supported", "–")
    assert changed(KEY, side(), side(RECORD)).verdicts == ("–", "supported")
    assert changed(KEY, side(RECORD), side()).notes == (
        "no claim registers it any more (one of your own: give --claims=FILE)",
    )
    assert changed(KEY, side(), side(RECORD)).notes == ("the baseline never judged it",)


@pytest.mark.parametrize(
    ("old", "new", "reason", "note"),
    [
        ("supported", "inconclusive", "few texts", "worse than the baseline: few texts"),
        ("inconclusive", "contradicted", "opposite", "worse than the baseline: opposite"),
        ("contradicted", "untestable", "one text", "worse than the baseline: one text"),
        ("contradicted", "supported", "", "other than the baseline"),
        ("untestable", "not applicable", "no bos", "other than the baseline: no bos"),
    ],
)
def test_a_changed_verdict_says_whether_it_is_worse_and_why(old, new, reason, note):
    change = changed(KEY, side(replace(RECORD, verdict=old)), side(replace(RECORD, verdict=new, reason=reason)))
    assert (change.state, change.regressed, change.notes) == ("verdict changed", True, (note,))
    assert change.verdicts == (old, new)


def test_fewer_texts_are_counted_by_the_records_where_there_is_no_outcome():
    fewer = changed(KEY, side(RECORD), side(replace(RECORD, n=31)))
    assert (fewer.state, fewer.notes) == ("fewer texts", ("31 texts, the baseline has 32",))
    assert (changed(KEY, side(RECORD), side(replace(RECORD, n=33))).state) == "same"


def test_texts_are_those_of_the_part_that_has_most_where_there_are_outcomes():
    def of(*sizes):
        parts = (Part(str(n), Estimate(np.linspace(1, 2, n), np.ones(n), "difference", "x")) for n in sizes)
        return replace(side(RECORD), evaluated={KEY: replace(EVALUATED, outcome=Conjunction(tuple(parts)))})

    assert changed(KEY, of(20, 32), of(20, 31)).notes == ("31 texts, the baseline has 32",)
    assert changed(KEY, of(20, 32), of(8, 32)).state != "fewer texts"


def test_what_moved_is_named_by_both_recorded_intervals():
    moved = changed(KEY, side(RECORD), side(replace(RECORD, estimate=4.0, low=3.5, high=4.5)))
    assert (moved.state, moved.regressed) == ("moved", False)
    assert moved.movement is not None
    assert moved.movement.value == 3.0
    assert moved.notes == ()


def test_a_part_that_is_shown_instead_of_another_is_named():
    one, other = replace(RECORD, label="query"), replace(RECORD, label="key")
    assert changed(KEY, side(one), side(other)).notes == ("key, the baseline shows query",)
    assert changed(KEY, side(RECORD), side(other)).notes == ("key, the baseline shows one estimate",)
    assert changed(KEY, side(one), side(RECORD)).notes == ("one estimate, the baseline shows query",)


def test_a_region_whose_lower_side_is_open_and_a_claim_that_changed_are_said():
    open_below = replace(RECORD, region={"scale": "rate", "low": None, "high": None}, claim_hash="new")
    change = changed(KEY, side(replace(RECORD, claim_hash="old")), side(open_below))
    assert change.notes == (
        "the claim changed since the baseline",
        "the region changed from difference >= 0.5 to rate >= -inf",
    )
    hashed = replace(RECORD, claim_hash="new")
    assert changed(KEY, side(RECORD), side(hashed)).notes == ()  # an old run names no hash
    assert changed(KEY, side(hashed), side(hashed)).notes == ()


def test_a_baseline_that_is_judged_as_it_was_or_not_at_all_today_goes_without_saying():
    assert changed(KEY, side(RECORD, today=[RECORD]), side(RECORD)).notes == ()
    assert changed(KEY, side(RECORD, today=[replace(RECORD, id="y")]), side(RECORD)).notes == ()
    today = side(RECORD, today=[replace(RECORD, verdict="untestable")])
    assert changed(KEY, today, side(RECORD)).notes == ("the baseline itself is untestable when it is judged today",)


def test_what_regressed_comes_first_and_alone_fails():
    def named(id, **edits):
        return replace(RECORD, id=id, **edits)

    before = [named("same"), named("moved"), named("lost"), named("fewer"), named("gone"), named("worse")]
    after = [named("new"), named("moved", estimate=9.0, low=8.5, high=9.5), named("same")]
    regressed = [named("fewer", n=9), replace(LACKING, id="lost"), named("worse", verdict="inconclusive")]
    comparison = compared(side(*before), side(*after, *regressed))
    assert [change.key.removesuffix("[direction]") for change in comparison.changes] == [
        *("worse", "lost", "gone", "fewer"),
        *("moved", "new", "same"),
    ]
    assert [change.state for change in comparison.regressed] == [change.state for change in comparison.changes[:4]]
    assert comparison.status == 1
    assert compared(side(named("same"), named("moved")), side(*after)).status == 0
