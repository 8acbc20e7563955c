"""Items that were answered right or wrong, against Wilson's, Tango's and binomial theory, and by simulation."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import xarray as xr
from scipy import optimize, stats

from dropeact.estimators import contrasts, items
from dropeact.estimators.regions import at_least, at_most, within
from dropeact.verdicts.rule import why_inconclusive

ALPHA = contrasts.ALPHA


def asked(values):
    return xr.DataArray(np.asarray(values, float), dims="text", coords={"text": np.arange(len(values))})


def some(right, n):
    return asked([1] * right + [0] * (n - right))


@pytest.mark.parametrize("n", [2, 10, 100])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_a_rate_is_judged_by_the_weaker_of_student_s_and_wilson_s_test_against_their_formulas(n, share):
    right = round(share * n)
    rate = items.mean(some(right, n), unit="x")
    own = rate.value * (1 - rate.value) * n / (n - 1)
    for bound in (0.2, 0.5, 0.97):
        spreads = np.sqrt([max(own, 1e-300), bound * (1 - bound)])
        evidence = stats.t.sf(abs(rate.value - bound) * np.sqrt(n) / spreads, n - 1).max()
        if rate.value != bound:
            assert rate.tails(bound)[0 if rate.value > bound else 1] == pytest.approx(evidence)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (3, 100), (96, 100)])
def test_the_interval_of_a_rate_holds_wilson_s_with_student_s_critical_value(right, n):
    rate, t = items.mean(some(right, n), unit="x"), stats.t.isf(ALPHA, n - 1)
    share = right / n
    center, half = share + t**2 / (2 * n), t * np.sqrt(share * (1 - share) / n + t**2 / (4 * n * n))
    wilson = (np.array([center - half, center + half]) / (1 + t**2 / n)).clip(0, 1)
    plain = contrasts.mean(some(right, n), unit="x").interval if 0 < right < n else wilson
    expected = max(0, min(wilson[0], plain[0])), min(1, max(wilson[1], plain[1]))
    assert rate.interval == pytest.approx(expected, abs=1e-9)


def restricted_variance(gained, lost, n, bound):
    """Variance of a change of -1, 0 or 1 with mean `bound`, by Tango's closed form for the probability of a loss."""
    a, b = 2 * n, -gained - lost + (2 * n - gained + lost) * bound
    c = -lost * bound * (1 - bound)
    q = (np.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    return 2 * q + bound - bound**2


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 3), (2, 5), (9, 1), (30, 20)])
@pytest.mark.parametrize("bound", [-0.1, 0.1])
def test_a_change_is_judged_by_tango_s_score_against_his_closed_form(gained, lost, bound):
    n = 100
    after, before = (
        asked([1] * gained + [0] * (n - gained)),
        asked([0] * gained + [1] * lost + [0] * (n - gained - lost)),
    )
    change = items.difference(after, before, unit="x")
    ahead = np.sign(change.value - bound)
    spread = max(np.sqrt(restricted_variance(gained, lost, n, bound)), contrasts.spread(change.numerator))
    expected = stats.t.sf(abs(change.value - bound) * np.sqrt(n) / spread, n - 1)
    assert change.tails(bound)[0 if ahead > 0 else 1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("values", [[0.6, 0.1, 0.1, -0.2], [1.0, 0.25, 0.25], [0.5, 0.5, -0.4, -0.05, 0.3]])
def test_the_nearest_distribution_against_maximising_its_likelihood(values):
    """The same weights from a general optimiser: the values that were seen, and one at the farthest."""
    reach, seen = 0.9, np.array(values)
    support = np.append(seen, -reach)

    def unlikely(weights):
        return -np.log(weights[:-1]).sum()

    conditions = [
        {"type": "eq", "fun": lambda weights: weights.sum() - 1},
        {"type": "eq", "fun": lambda weights: weights @ support},
    ]
    start = np.full(len(support), 1 / len(support))
    found = optimize.minimize(
        unlikely, start, bounds=[(1e-9, 1)] * (len(support) - 1) + [(0, 1)], constraints=conditions, tol=1e-12
    )
    assert items.null_variance(seen, reach) == pytest.approx(found.x @ support**2, rel=1e-3)


def test_an_interval_ends_where_the_evidence_does_against_the_tails():
    before = some(80, 100)
    for estimate in (
        items.mean(some(4, 100), unit="x"),
        items.difference(some(78, 100), before, unit="x"),
        items.ratio(some(6, 100), before),
    ):
        low, high = estimate.interval
        assert low < estimate.value < high
        assert estimate.tails(low)[0] == pytest.approx(ALPHA)
        assert estimate.tails(high)[1] == pytest.approx(ALPHA)


def test_an_interval_goes_no_farther_than_items_do():
    assert items.mean(some(1, 50), unit="x").low == 0.0  # Student's goes to -0.02
    assert items.mean(some(49, 50), unit="x", chance=0.5).high == 0.5
    assert items.ratio(some(1, 50), some(25, 50)).low == 0.0


def test_a_ratio_has_no_upper_end_where_the_denominator_may_be_none():
    assert items.ratio(some(1, 10), some(1, 10)).high == np.inf


def test_nothing_left_of_some_is_decided_by_more_items_not_by_their_agreement():
    """No number of 10 found beyond, 8 of 10 within: a next one may be found. Texts that all agree would decide."""
    region = at_most(0.5, "r", scale="ratio")
    left, more = (items.ratio(some(0, n), some(8 * n // 10, n)) for n in (10, 20))
    assert ALPHA < left.p_values(region).support < 2 * ALPHA
    assert more.p_values(region).support < ALPHA
    assert (left.n, left.is_exact) == (10, False)
    assert left.low == 0.0 < left.high < 1.0


def test_no_change_in_any_item_is_not_certain():
    """A share 0.1 of all items that lost their answer goes unseen in 10 with probability 0.35, in 100 hardly ever."""
    for n, decided in ((10, False), (100, True)):
        same = items.difference(some(n, n), some(n, n), unit="x")
        assert (same.p_values(within(-0.1, 0.1, "r")).support <= ALPHA) is decided


def test_chance_is_taken_from_rate_and_reach_alike():
    plain, lifted = items.mean(some(9, 10), unit="x"), items.mean(some(9, 10), unit="x", chance=0.5)
    assert lifted.tails(0.1) == pytest.approx(plain.tails(0.6))
    assert lifted.interval == pytest.approx([end - 0.5 for end in plain.interval])


def test_one_of_two_answers_right_in_every_item_shows_less_than_both_but_more_than_half_of_the_items_right():
    below = [items.mean(asked(values), unit="x").tails(0.3)[0] for values in ([0.5] * 20, [1] * 20, [1, 0] * 10)]
    assert below[1] < below[0] < below[2]


RUNS = 4000


def by_chance(draw, judge):
    """Binomial p of as many samples that `judge` decides wrongly; equal samples are judged once."""
    decided, counts = cache(judge), Counter(map(tuple, draw(np.random.default_rng(3)).tolist()))
    wrong = sum(times for sample, times in counts.items() if decided(sample))
    return stats.binomtest(wrong, RUNS, 1.2 * ALPHA, "greater").pvalue


@pytest.mark.parametrize("n", [8, 16, 32, 100])
def test_a_rate_on_its_bound_is_decided_no_more_often_than_promised_against_every_sample(n):
    """Either way, of all samples with their probability; whole numbers let no test meet 2.5 %. t alone: up to 92 %."""
    estimates = [items.mean(some(right, n), unit="x") for right in range(n + 1)]
    for rate in np.arange(0.01, 1.0, 0.02):
        decided = np.array([estimate.tails(rate) for estimate in estimates]) <= ALPHA
        wrong = stats.binom.pmf(np.arange(n + 1), n, rate) @ decided
        assert wrong.max() <= 0.029


@pytest.mark.parametrize("n", [10, 32, 100])
@pytest.mark.parametrize("gained", [0.0, 0.02, 0.1])
def test_a_change_on_its_margin_is_decided_no_more_often_than_promised_by_simulation(n, gained):
    lost = gained + 0.1

    def judge(sample):
        values = np.repeat([1.0, -1.0, 0.0], sample)
        change = items.difference(asked(values > 0), asked(values < 0), unit="x")
        return change.tails(-0.1)[0] <= ALPHA

    assert by_chance(lambda rng: rng.multinomial(n, [gained, lost, 1 - gained - lost], RUNS), judge) > 0.001


def averaged(changes):
    """Changes of the items of two tasks, 200 and 100 of them, each told apart by its ids."""
    labelled = [asked(values).assign_coords(text=np.arange(len(values)) + 1000 * i) for i, values in enumerate(changes)]
    return items.average(dict(zip("ab", labelled, strict=True)), farthest=1.0, unit="x")


def test_tasks_count_alike_however_many_items_they_have_against_hand_count():
    found = averaged([[1] * 20 + [0] * 180, [-1] * 30 + [0] * 70])
    assert found.value == pytest.approx((0.1 - 0.3) / 2)
    within_tasks = (0.1 - 0.1**2) / 200 + (0.3 - 0.3**2) / 100
    error = contrasts.spread(found.numerator) / np.sqrt(found.texts)
    assert error == pytest.approx(np.sqrt(within_tasks) / 2, rel=0.01)  # how the tasks differ is no error
    assert (found.least, found.most) == pytest.approx((-0.1 - 1.5 * 0.7, -0.1 + 1.5 * 1.3))


@pytest.mark.parametrize(
    ("lost", "gained"), [((0.05, 0.05), 0.0), ((0.1, 0.0), 0.0), ((0.0, 0.1), 0.0), ((0.1, 0.1), 0.05)]
)
def test_an_average_of_tasks_on_its_bound_is_decided_no_more_often_than_promised_by_simulation(lost, gained):
    """t alone decides 6 % of these samples where nothing is won."""

    def drawn(rng):
        shares = [[gained, share, 1 - gained - share] for share in lost]
        return np.hstack([rng.multinomial(n, own, RUNS) for n, own in zip((200, 100), shares, strict=True)])

    def judge(sample):
        first, second = (np.repeat([1.0, -1.0, 0.0], sample[i : i + 3]) for i in (0, 3))
        return averaged([first, second]).tails(gained - sum(lost) / 2)[0] <= ALPHA

    assert by_chance(drawn, judge) > 0.001


@pytest.mark.parametrize("n", [10, 32, 100])
@pytest.mark.parametrize("within_rate", [0.3, 0.8, 1.0])
def test_what_is_left_on_its_bound_is_decided_no_more_often_than_promised_by_simulation(n, within_rate):
    """A tenth of what is found within is found beyond."""
    shares = [0.1 * within_rate, 0.9 * within_rate, 1 - within_rate]

    def judge(sample):
        kept, gone, _ = sample
        if not kept + gone:
            return False
        return items.ratio(some(kept, n), some(kept + gone, n)).tails(0.1)[1] <= ALPHA

    assert by_chance(lambda rng: rng.multinomial(n, shares, RUNS), judge) > 0.001


@pytest.mark.parametrize("bound", [0.05, 0.2])
def test_how_many_would_decide_decide_and_one_fewer_do_not(bound):
    few, region = items.mean(some(0, 3), unit="x"), at_most(bound, "r", scale="rate")
    needed = few.deciding(bound, 2)
    assert needed is not None
    for n, decided in ((needed, True), (needed - 1, False)):
        assert (items.mean(some(0, n), unit="x").p_values(region).support <= ALPHA / 2) is decided
    assert why_inconclusive(few, region, 2, sample="items").startswith(f"about {needed} items would decide")


def test_that_many_decide_in_four_samples_of_five_by_simulation():
    rate, bound = items.mean(some(20, 100), unit="x"), 0.3
    needed = rate.deciding(bound, 1)
    assert needed is not None
    drawn = np.random.default_rng(0).binomial(needed, 0.2, 2000)
    decided = [items.mean(some(right, needed), unit="x").tails(bound)[1] <= ALPHA for right in drawn]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(("right", "bound"), [(0, 0.2), (1, 0.3), (4, 0.45)])
def test_right_and_wrong_answers_are_as_far_from_their_bounds_by_symmetry(right, bound):
    """Of 10 items: so many right beside a bound are as many wrong beside 1 minus it."""
    few, many = items.mean(some(right, 10), unit="x"), items.mean(some(10 - right, 10), unit="x")
    assert many.effect(1 - bound) == pytest.approx(-few.effect(bound))
    assert many.tails(1 - bound) == pytest.approx(few.tails(bound)[::-1])
    assert many.deciding(1 - bound, 3) == few.deciding(bound, 3)
    assert many.interval == pytest.approx([1 - end for end in few.interval[::-1]])


@pytest.mark.parametrize(("right", "bound"), [(5, 0.9), (5, 0.2), (1, 0.5), (9, 0.5), (0, 0.3)])
def test_an_effect_is_the_smaller_of_both_tests_against_their_formulas(right, bound):
    """Beside the spread of these answers, sqrt(p (1 - p) n / (n - 1)), and of answers on the bound."""
    rate = right / 10
    spreads = np.sqrt([rate * (1 - rate) * 10 / 9, bound * (1 - bound)])
    assert items.mean(some(right, 10), unit="x").effect(bound) == pytest.approx((rate - bound) / spreads.max())


def test_a_ratio_over_none_has_no_interval():
    assert items.ratio(some(3, 10), some(0, 10)).interval == (-np.inf, np.inf)


def test_a_mean_and_a_sum_over_tasks_say_what_they_are():
    assert items.mean(some(3, 10), unit="x").scale == "rate"
    assert items.mean(some(3, 10), unit="x", scale="difference").scale == "difference"
    assert averaged([[1, 0], [0, 1]]).scale == "difference"


def test_no_number_decides_what_lies_on_the_bound():
    assert items.mean(some(5, 5), unit="x").deciding(1.0, 1) is None
    said = why_inconclusive(items.mean(some(5, 5), unit="x"), at_least(1.0, "r", scale="rate"), 1)
    assert said.startswith("more than 100,000 texts would decide")
