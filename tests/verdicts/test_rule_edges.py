"""Verdicts at the edges of their rule: a p at the level, an interval over the null, more parts than can be tested."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dropeact.estimators import Conjunction, Estimate, Part, PValues, items
from dropeact.estimators.regions import at_least, at_most, within
from dropeact.verdicts.rule import decide, holm, is_exact, shown, why_contradicted, why_inconclusive


def sample(center, spread=0.1, n=16):
    return Estimate(center + spread * np.linspace(-1, 1, n), np.ones(n), "difference", "x")


def test_no_adjusted_p_exceeds_1_against_hand_count():
    assert holm([0.9, 0.6]).tolist() == [1.0, 1.0]  # 2 x 0.6 = 1.2
    assert holm([0.3, 0.2], size=8).tolist() == [1.0, 1.0]  # 8 x 0.2 = 1.6


def test_a_p_at_the_level_decides():
    assert decide(PValues(0.01, 0.99), 0.025) == "supported"
    assert decide(PValues(0.99, 0.01), 0.025) == "contradicted"
    assert decide(PValues(0.01, 0.99), np.nextafter(0.025, 1)) == "inconclusive"


def test_parts_without_a_test_leave_a_statement_untestable_unless_another_fails():
    assert decide(PValues(1.0, 0.5), 1.0, untested=True) == "untestable"
    assert decide(PValues(1.0, 0.01), 0.03, untested=True) == "untestable"
    assert decide(PValues(1.0, 0.01), 0.01, untested=True) == "contradicted"


@pytest.mark.parametrize(
    ("center", "reason"), [(-0.1, "effect too small"), (-0.3, "effect too small"), (-0.5, "opposite")]
)
@pytest.mark.parametrize("sign", [1, -1], ids=["at least", "at most"])
def test_an_effect_is_opposite_where_all_of_its_interval_is_against_scipy(center, reason, sign):
    """The interval reaches 0.37 to either side: over the null, where a tenth or three tenths lie on the other side."""
    estimate = sample(sign * center, 1.1)
    interval = stats.ttest_1samp(estimate.numerator, 0.0).confidence_interval(0.95)
    assert (interval.low < 0 < interval.high) == (reason == "effect too small")
    region = at_least(2.0, "r") if sign > 0 else at_most(-2.0, "r")
    assert why_contradicted(estimate, region) == reason


def test_a_number_without_an_interval_is_opposite_by_itself():
    """One that varies over no text has no interval; something of one sign over nothing is more than any multiple."""
    assert why_contradicted(sample(-1.0, 0.0), at_least(0.5, "r")) == "opposite"
    assert why_contradicted(sample(0.2, 0.0), at_least(0.5, "r")) == "effect too small"
    assert why_contradicted(sample(1.0, 0.0), at_most(-0.5, "r")) == "opposite"
    endless = Estimate(np.linspace(1, 2, 8), np.zeros(8), "ratio", "ratio")
    assert why_contradicted(endless, at_most(0.95, "r", scale="ratio")) == "opposite"


def test_a_compound_statement_is_exact_only_where_no_part_varies():
    constant, varying = Part("constant", sample(1.0, 0.0)), Part("varying", sample(1.0))
    assert is_exact(Conjunction((constant, constant)))
    assert not is_exact(Conjunction((constant, varying)))


def test_the_numbers_beside_a_verdict_are_those_of_the_estimate_against_scipy():
    estimate, region = sample(0.7), at_least(0.5, "r")
    interval = stats.ttest_1samp(estimate.numerator, 0.0).confidence_interval(0.95)
    seen = shown(estimate, region)
    assert (seen.value, seen.low, seen.high) == pytest.approx((0.7, interval.low, interval.high))
    assert (seen.n, seen.unit, seen.label, seen.exact, seen.region) == (16, "x", "", False, region)
    constant = shown(sample(0.7, 0.0), region)
    assert (constant.n, constant.exact) == (1, True)


def test_two_texts_have_a_number_that_would_decide_and_one_has_none():
    assert why_inconclusive(sample(0.6, 0.2, 2), at_least(0.5, "r"), 1).startswith("about ")
    assert why_inconclusive(sample(0.6, 0.2, 1), at_least(0.5, "r"), 1, sample="prompts") == (
        "on the bound exactly; no number of prompts would decide"
    )


def answers(right, n=40):
    values = xr.DataArray([1.0] * right + [0.0] * (n - right), dims="text", coords={"text": range(n)})
    return items.mean(values, unit="share")


@pytest.mark.parametrize(
    ("parts", "region", "tests"),
    [
        (1, at_least(0.5, "r", scale="rate"), 1),
        (3, at_least(0.5, "r", scale="rate"), 3),
        (1, within(0.5, 0.9, "r", scale="rate"), 2),
        (3, within(0.5, 0.9, "r", scale="rate"), 6),
    ],
)
def test_against_a_statement_about_items_each_part_and_each_side_is_a_test_of_a_larger_family(parts, region, tests):
    outside = answers(18)  # 0.45, below the region
    outcome = Conjunction(tuple(Part(str(i), outside) for i in range(parts))) if parts > 1 else outside
    said = why_inconclusive(outcome, region, 4, sample="items")
    assert said.startswith(f"about {outside.deciding(0.5, 4 * tests):,} items would decide")
    assert (outside.deciding(0.5, 4 * tests) == outside.deciding(0.5, 4)) == (tests == 1)
