"""How far an estimate moved between two runs: what is compared, and when a change is beyond its interval."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dropeact.estimators import Argmax, Conjunction, Estimate, Part
from dropeact.estimators.regions import at_least
from dropeact.verdicts.movement import Movement, contributions, movement, paired, recorded_movement, welch
from dropeact.verdicts.movement import _sampled as sampled
from tests.bare_records import BARE

MORE = at_least(0.0, "more")


def spread_out(center, n=8, spread=0.1):
    return Estimate(center + spread * np.linspace(-1, 1, n), np.ones(n), "difference", "nats")


def recorded(estimate, low=None, high=None, *, n=1, exact=False, label=""):
    return replace(BARE, estimate=estimate, low=low, high=high, n=n, exact=exact, label=label)


def test_exact_numbers_that_differ_moved_and_equal_ones_did_not():
    old = recorded(2.0, exact=True)
    moved, still = recorded_movement(old, recorded(2.5, exact=True)), recorded_movement(old, old)
    assert moved is not None
    assert still is not None
    assert (moved.value, moved.low, moved.high, moved.beyond) == (0.5, 0.5, 0.5, True)
    assert (still.low, still.high, still.beyond) == (0.0, 0.0, False)


def test_an_exact_number_below_0_has_a_floor_as_one_above_it():
    for sign in (1, -1):
        old, rounded = recorded(sign * 2.0, exact=True), recorded(sign * 2.000001, exact=True)
        moved = recorded_movement(old, rounded)
        assert moved is not None
        assert not moved.beyond
        assert moved.floor == pytest.approx(2e-6, rel=1e-5)


def test_two_recorded_intervals_move_as_their_means_and_spreads_do_against_welch_in_scipy():
    rng = np.random.default_rng(0)
    old, new = rng.normal(1, 1, 12), rng.normal(4, 2, 30)

    def as_recorded(values):
        ends = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        return recorded(float(values.mean()), float(ends.low), float(ends.high), n=len(values))

    moved = recorded_movement(as_recorded(old), as_recorded(new))
    assert moved is not None
    expected = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    assert (moved.low, moved.high) == pytest.approx((expected.low, expected.high))
    assert moved.value == pytest.approx(new.mean() - old.mean())
    assert not moved.paired


def test_a_recorded_movement_names_the_part_that_both_records_show():
    shown = recorded(1.0, 0.5, 1.5, n=9, label="key")
    moved = recorded_movement(shown, shown)
    assert moved is not None
    assert moved.label == "key"


def test_an_interval_beside_an_exact_number_moves_by_its_own_freedom_against_student():
    moved = recorded_movement(recorded(1.0, exact=True), recorded(2.0, 1.5, 2.5, n=9))
    assert moved is not None
    assert (moved.low, moved.high) == pytest.approx((0.5, 1.5))


@pytest.mark.parametrize(
    "other",
    [
        recorded(None, 0.5, 1.5, n=9),
        recorded(1.0, None, 1.5, n=9),
        recorded(1.0, 0.5, None, n=9),
        recorded(1.0, 0.5, 1.5, n=1),
        recorded(1.0, 0.5, 1.5, n=9, label="key"),
    ],
    ids=["no estimate", "no lower end", "no upper end", "one text", "another part"],
)
def test_what_has_no_interval_or_is_of_another_part_has_not_moved(other):
    known = recorded(1.0, 0.5, 1.5, n=2)
    assert recorded_movement(known, known) is not None
    assert recorded_movement(known, other) is None
    assert recorded_movement(other, known) is None


def test_of_a_largest_mean_the_lead_over_the_rival_that_now_comes_closest_is_compared():
    far, near, fallen = spread_out(9.0), spread_out(3.0), spread_out(2.0)
    old = Argmax({3: fallen, 5: near}, {0: near}, "largest at layer 1")
    new = Argmax({3: far, 5: fallen}, {0: near}, "largest at layer 1")
    moved = movement(old, new, MORE, same_texts=True)
    assert moved is not None
    assert (moved.label, moved.value, moved.paired) == ("5", pytest.approx(2.0 - 3.0), True)


def test_of_a_compound_statement_the_part_that_is_now_weakest_is_compared():
    old = Conjunction((Part("query", spread_out(1.0)), Part("key", spread_out(5.0))))
    new = Conjunction((Part("query", spread_out(6.0)), Part("key", spread_out(2.0))))
    moved = movement(old, new, MORE, same_texts=True)
    assert moved is not None
    assert (moved.label, moved.value) == ("key", pytest.approx(-3.0))
    elsewhere = movement(old, new, MORE, same_texts=False)
    assert elsewhere is not None
    assert (elsewhere.label, elsewhere.paired) == ("key", False)
    renamed = Conjunction((Part("value", spread_out(2.0)),))
    assert movement(old, renamed, MORE, same_texts=True) is None


def test_what_is_not_finite_has_not_moved():
    n = 8
    endless = Estimate(np.linspace(1, 2, n), np.zeros(n), "ratio", "ratio")
    assert movement(endless, spread_out(1.0), MORE, same_texts=True) is None
    assert movement(spread_out(1.0), endless, MORE, same_texts=True) is None


def test_a_text_contributes_its_own_value_to_a_mean_and_its_linearised_one_to_a_ratio_against_hand_count():
    assert contributions(Estimate(np.array([1.0, 4.0]), np.ones(2), "difference", "x")).tolist() == [1.0, 4.0]
    ratio = Estimate(np.array([1.0, 5.0]), np.array([1.0, 3.0]), "ratio", "ratio")  # 6 / 4
    assert contributions(ratio).tolist() == [1.5 + (1 - 1.5) / 2, 1.5 + (5 - 4.5) / 2]


def test_other_texts_and_fewer_of_them_are_compared_as_independent_against_scipy():
    old, new = spread_out(1.0, 8), spread_out(1.5, 12)
    expected = stats.ttest_ind(new.numerator, old.numerator, equal_var=False).confidence_interval(0.95)
    for before, after, same in ((old, new, True), (old, new, False)):
        moved = movement(before, after, MORE, same_texts=same)
        assert moved is not None
        assert not moved.paired
        assert (moved.low, moved.high) == pytest.approx((expected.low, expected.high))
    again = movement(old, spread_out(1.5, 8), MORE, same_texts=False)
    assert again is not None
    assert not again.paired


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("compare", [paired, lambda old, new: welch(sampled(old), sampled(new))], ids=["same", "other"])
def test_a_change_has_to_exceed_the_larger_floor_of_both_runs_against_hand_count(compare, sign):
    """A floor of 0.6 in the contrast a - theta b is one of 0.3 in a ratio over 2, or over -2."""
    base = Estimate(np.full(8, sign * 6.0), np.full(8, sign * 2.0), "ratio", "ratio", floor=0.6)
    for by, beyond in ((0.29, False), (0.31, True)):
        moved = replace(base, numerator=base.numerator + 2 * by, floor=0.0)
        assert compare(base, moved).floor == compare(moved, base).floor == pytest.approx(0.3)
        assert compare(base, moved).beyond is compare(moved, base).beyond is beyond


def test_a_change_of_less_than_a_millionth_is_another_machines_rounding():
    base = spread_out(-4.0, spread=0.0)
    for by, beyond in ((3e-6, False), (5e-6, True)):
        assert paired(base, replace(base, numerator=base.numerator + by)).beyond is beyond


def test_an_interval_that_holds_0_leaves_a_change_undecided():
    assert not Movement(0.5, -0.1, 1.1, 0.0, True).beyond
    assert Movement(0.5, 0.1, 0.9, 0.0, True).beyond
    assert Movement(-0.5, -0.9, -0.1, 0.0, True).beyond
