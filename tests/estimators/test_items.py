"""Items that were answered right or wrong: where all agree, against exact binomial tests, simulation and hand count."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dropeact.estimators import contrasts, items
from dropeact.estimators.regions import at_least, at_most, within
from dropeact.verdicts.rule import why_inconclusive

ALPHA = contrasts.ALPHA


def asked(values):
    return xr.DataArray(np.asarray(values, float), dims="text", coords={"text": np.arange(len(values))})


@pytest.mark.parametrize("n", [2, 10, 100])
@pytest.mark.parametrize("right", [0, 1])
def test_a_rate_of_none_or_all_is_clopper_pearson_s_against_scipy(n, right):
    rate = items.mean(asked([right] * n), unit="x")
    interval = stats.binomtest(right * n, n).proportion_ci(1 - 2 * ALPHA, "exact")
    assert (rate.value, rate.n, rate.is_exact) == (right, n, False)
    assert rate.interval == pytest.approx((interval.low, interval.high))
    for bound in (0.2, 0.5, 0.9):
        above, below = (stats.binomtest(right * n, n, bound, side).pvalue for side in ("greater", "less"))
        assert rate.tails(bound) == pytest.approx((above, below))


def test_where_answers_differ_the_estimates_are_those_of_texts():
    rng = np.random.default_rng(0)
    before, after = (asked(rng.random(40) < share) for share in (0.9, 0.3))
    for ours, theirs in (
        (items.mean(after, unit="x"), contrasts.mean(after, unit="x")),
        (items.difference(after, before, unit="x"), contrasts.difference(after, before, unit="x")),
        (items.ratio(after, before), contrasts.ratio(after, before)),
    ):
        assert ours.interval == theirs.interval
        assert ours.tails(0.25) == theirs.tails(0.25)


def test_nothing_left_of_some_against_hand_count():
    """No number of 10 found beyond, 8 of 10 within: at half, each unseen item may give 1 and takes 0.4 to outweigh."""
    left = items.ratio(asked([0] * 10), asked([1] * 8 + [0] * 2))
    assert left.tails(0.5)[1] == pytest.approx((1 / 1.4) ** 10)
    unseen = 1 - ALPHA**0.1
    assert left.interval == pytest.approx((0.0, unseen / ((1 - unseen) * 0.8)))
    assert left.p_values(at_most(0.5, "r", scale="ratio")).support > ALPHA  # exact texts would have 0
    more = items.ratio(asked([0] * 20), asked([1] * 16 + [0] * 4))
    assert more.p_values(at_most(0.5, "r", scale="ratio")).support < ALPHA


def test_no_change_in_any_item_against_hand_count():
    """A share 0.1 of all items that lost their answer goes unseen in 10 with probability 0.9^10."""
    same = items.difference(asked([1] * 10), asked([1] * 10), unit="x")
    support = same.p_values(within(-0.1, 0.1, "r")).support
    assert support == pytest.approx(0.9**10)
    unseen = 1 - ALPHA**0.1
    assert same.interval == pytest.approx((-unseen, unseen))


def test_chance_is_taken_from_rate_and_reach_alike():
    plain, lifted = items.mean(asked([1] * 10), unit="x"), items.mean(asked([1] * 10), unit="x", chance=0.5)
    assert lifted.tails(0.1) == pytest.approx(plain.tails(0.6))
    assert lifted.interval == pytest.approx([end - 0.5 for end in plain.interval])


@pytest.mark.parametrize("n", [8, 16, 32])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9, 0.95])
def test_agreement_by_chance_decides_wrongly_no_more_often_than_promised_by_simulation(n, rate):
    """The truth on the bound: of samples that all agree, texts would decide each one."""
    rng = np.random.default_rng(n)
    wrong = 0
    for _ in range(2000):
        drawn = asked(rng.random(n) < rate)
        estimate = items.mean(drawn, unit="x")
        if estimate.is_constant:
            wrong += min(estimate.tails(rate)) <= ALPHA
    assert stats.binomtest(wrong, 2000, ALPHA, "greater").pvalue > 0.001


@pytest.mark.parametrize("n", [8, 16, 32])
@pytest.mark.parametrize("apart", [False, True], ids=["independent", "found beyond only where not within"])
def test_nothing_left_by_chance_decides_wrongly_no_more_often_than_promised_by_simulation(n, apart):
    """The truth on the bound: a tenth of what is found within is found beyond."""
    rng, within_rate, bound = np.random.default_rng(n), 0.75, 0.1
    wrong = 0
    for _ in range(2000):
        place = rng.random(n)
        before = place < within_rate
        after = place > 1 - bound * within_rate if apart else rng.random(n) < bound * within_rate
        if before.any() and not after.any():
            wrong += items.ratio(asked(after), asked(before)).tails(bound)[1] <= ALPHA
    assert stats.binomtest(wrong, 2000, ALPHA, "greater").pvalue > 0.001


@pytest.mark.parametrize("bound", [0.05, 0.2])
def test_how_many_would_decide_decide_and_one_fewer_do_not(bound):
    few, region = items.mean(asked([0] * 3), unit="x"), at_most(bound, "r", scale="rate")
    needed = few.deciding(region, 2)
    assert needed is not None
    for n, decided in ((needed, True), (needed - 1, False)):
        assert (items.mean(asked([0] * n), unit="x").p_values(region).support <= ALPHA / 2) is decided
    assert why_inconclusive(few, region, 2, sample="items").startswith(f"about {needed} items would decide")


def test_no_number_decides_what_lies_on_the_bound():
    assert items.mean(asked([1] * 5), unit="x").deciding(at_least(1.0, "r", scale="rate"), 1) is None
