import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dropeact.estimators import Untestable, difference, exact, items, mean, ratio
from dropeact.estimators.contrasts import ALPHA, mean_and_half_width
from dropeact.estimators.outcomes import remarking
from dropeact.estimators.regions import at_least, at_most, within


def per_text(values, prefix="t"):
    return xr.DataArray(
        np.asarray(values, float), dims="text", coords={"text": [f"{prefix}{i}" for i in range(len(values))]}
    )


def test_difference_against_scipy_paired_t():
    rng = np.random.default_rng(1)
    rope, drope = rng.normal(5, 1, 32), rng.normal(5.4, 1, 32)
    estimate = difference(per_text(drope), per_text(rope), unit="nats")
    reference = stats.ttest_1samp(drope - rope, 0.02)
    interval = reference.confidence_interval(0.95)
    assert estimate.value == pytest.approx((drope - rope).mean(), rel=1e-12)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    one_sided = np.asarray(stats.ttest_1samp(drope - rope, 0.02, alternative="greater"))[1]
    assert estimate.p_values(at_least(0.02, "r")).support == pytest.approx(one_sided, rel=1e-10)
    assert estimate.p_values(at_least(0.02, "r")).contradict == pytest.approx(1 - one_sided, rel=1e-10)


def test_ratio_interval_is_the_set_the_test_leaves_standing():
    rng = np.random.default_rng(2)
    rope = rng.gamma(4, 2, 32)
    estimate = ratio(per_text(0.7 * rope + rng.normal(0, 1, 32)), per_text(rope))
    assert estimate.tails(estimate.low)[0] == pytest.approx(ALPHA, rel=1e-6)
    assert estimate.tails(estimate.high)[1] == pytest.approx(ALPHA, rel=1e-6)
    assert estimate.low < estimate.value < estimate.high


@pytest.mark.parametrize("relative", [1e-3, 1e-7, 1e-10])
def test_interval_of_a_small_spread_against_scipy(relative):
    values = 23_100 * (1 + relative * np.random.default_rng(6).normal(size=32))
    estimate = mean(per_text(values), unit="norm")
    reference = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert estimate.low - estimate.value == pytest.approx(reference.low - values.mean(), rel=1e-3)
    assert estimate.high - estimate.value == pytest.approx(reference.high - values.mean(), rel=1e-3)


def test_ratio_of_zero_counts_needs_no_logarithm():
    drope = per_text([0, 0, 1, 0, 2, 0, 0, 1])
    rope = per_text([10, 12, 9, 11, 10, 12, 8, 10])
    assert ratio(drope, rope).p_values(at_most(0.95, "r", scale="ratio")).support < 1e-6


def test_ratio_interval_is_unbounded_when_the_denominator_may_be_zero():
    rng = np.random.default_rng(3)
    estimate = ratio(per_text(rng.normal(1, 1, 8)), per_text(np.abs(rng.normal(0.05, 1, 8)) - 0.5))
    assert (estimate.low, estimate.high) == (-np.inf, np.inf)


def test_ratio_is_undecided_where_the_sign_of_the_denominator_is():
    """mean(a - c b) > 0 says a / b > c only where b > 0: a loss increase near zero may have either sign."""
    rng = np.random.default_rng(7)
    estimate = ratio(per_text(rng.normal(6, 0.1, 16)), per_text(0.05 + np.linspace(-1, 1, 16)))
    assert (estimate.low, estimate.high) == (-np.inf, np.inf)
    p = estimate.p_values(at_least(2.0, "r", scale="ratio"))
    assert min(p) > 0.3
    clear = ratio(per_text(rng.normal(6, 0.1, 16)), per_text(0.8 + np.linspace(-1, 1, 16)))
    assert clear.p_values(at_least(2.0, "r", scale="ratio")).support < ALPHA


@pytest.mark.parametrize(
    ("over", "under"),
    [([1, 2, 3], [-1, -2, -1]), ([1, 2, 3], [-1, 0, 1]), ([0, 0, 0], [0, 0, 0]), ([-1, 2, 3], [0, 0, 0])],
)
def test_ratio_over_what_is_not_positive_is_untestable(over, under):
    with pytest.raises(Untestable, match="not positive"):
        ratio(per_text(over), per_text(under))


def test_something_is_more_than_any_multiple_of_nothing_against_a_t_test_of_the_numerator():
    counts = [3, 5, 0, 6, 2, 4, 5, 3]  # none in one text
    with remarking() as remarks:
        estimate = ratio(per_text(counts), per_text([0] * 8))
    p = estimate.p_values(at_least(2.0, "r", scale="ratio"))
    reference = np.asarray(stats.ttest_1samp(counts, 0.0, alternative="greater"))[1]
    assert p.support == pytest.approx(reference)
    assert p.contradict == pytest.approx(1 - reference)
    assert (estimate.value, estimate.low, estimate.high, estimate.is_exact) == (np.inf, -np.inf, np.inf, False)
    assert remarks == ["The denominator is 0 in every text: no ratio is printed"]
    same = ratio(per_text([4, 4, 4]), per_text([0, 0, 0]))
    assert (same.is_exact, same.p_values(at_least(2.0, "r", scale="ratio")).support) == (True, 0.0)


def test_margin_p_values_against_two_one_sided_tests():
    rng = np.random.default_rng(4)
    values = rng.normal(0.02, 0.1, 32)
    p = mean(per_text(values), unit="rate").p_values(within(-0.1, 0.1, "r"))
    above = np.asarray(stats.ttest_1samp(values, -0.1, alternative="greater"))[1]
    below = np.asarray(stats.ttest_1samp(values, 0.1, alternative="less"))[1]
    assert p.support == pytest.approx(max(above, below), rel=1e-10)
    assert p.contradict == pytest.approx(min(1.0, 2 * min(1 - above, 1 - below)), rel=1e-10)


def test_a_value_outside_a_margin_is_contradicted_against_the_nearer_one_sided_test():
    values = np.random.default_rng(4).normal(0.2, 0.1, 32)
    p = mean(per_text(values), unit="rate").p_values(within(-0.1, 0.1, "r"))
    outside = np.asarray(stats.ttest_1samp(values, 0.1, alternative="greater"))[1]
    assert p.contradict == pytest.approx(2 * outside, rel=1e-10)  # two sides could have been crossed
    assert p.support == pytest.approx(1 - outside, rel=1e-10)
    assert p.contradict < 0.001 < 0.99 < p.support


def test_the_half_width_of_an_interval_against_scipy():
    values = xr.DataArray([[1.0, 5.0], [2.0, 5.5], [4.0, 4.0]], dims=("text", "layer"))
    center, half = mean_and_half_width(values)
    assert center.tolist() == pytest.approx([7 / 3, 14.5 / 3])
    for place in range(2):
        interval = stats.ttest_1samp(values[:, place], 0.0).confidence_interval(0.95)
        assert half[place] == pytest.approx((interval.high - interval.low) / 2)


@pytest.mark.parametrize(("value", "supported"), [(0.3, True), (0.1, False)])
def test_zero_spread_is_compared_directly(value, supported):
    estimate = mean(per_text([value] * 8), unit="rate")
    p = estimate.p_values(at_least(0.2, "r"))
    assert estimate.is_exact
    assert estimate.n == 1
    assert np.isnan(estimate.low)
    assert (p.support == 0.0, p.contradict == 0.0) == (supported, not supported)


def test_zero_spread_on_the_bound_is_neither():
    p = mean(per_text([0.2] * 8), unit="rate").p_values(at_least(0.2, "r"))
    assert p == (1.0, 1.0)


def test_a_contrast_constant_at_the_bound_alone_is_compared_directly():
    rope = np.array([3.0, 4, 5, 6, 7, 8, 9, 10])
    estimate = ratio(per_text(rope + 1), per_text(rope))
    assert not estimate.is_exact
    assert estimate.p_values(at_least(1.0, "r", scale="ratio")) == (0.0, 1.0)


def test_spread_within_the_noise_floor_is_exact():
    values = per_text(1000 + 1e-4 * np.arange(8))
    assert mean(values, unit="norm", floor=1e-2).is_exact
    assert not mean(values, unit="norm", floor=1e-5).is_exact


def test_an_effect_below_the_noise_floor_is_never_supported():
    p = mean(per_text([0.2 + 1e-4] * 8), unit="rate", floor=1e-3).p_values(at_least(0.2, "r"))
    assert p.support == 1.0


def test_exact_number_refuses_nan():
    with pytest.raises(Untestable):
        exact(float("nan"), scale="rate", unit="x")


def test_one_text_is_untestable_not_exact():
    with pytest.raises(Untestable, match="1 text"):
        mean(per_text([0.9]), unit="rate")


def test_two_texts_against_scipy():
    p = mean(per_text([0.4, 0.9]), unit="rate").p_values(at_least(0.5, "r"))
    assert p.support == pytest.approx(np.asarray(stats.ttest_1samp([0.4, 0.9], 0.5, alternative="greater"))[1])


def test_nan_is_untestable_and_names_the_text():
    with pytest.raises(Untestable, match="t1"):
        mean(per_text([1.0, np.nan, 2.0]), unit="x")


def test_seeds_as_the_sample_are_refused():
    seeds = xr.DataArray(np.ones((4, 3)), dims=("text", "seed"), coords={"text": list("abcd")})
    with pytest.raises(ValueError, match="the text is the unit"):
        mean(seeds, unit="x")


def test_duplicated_texts_are_refused():
    doubled = xr.DataArray(np.ones(4), dims="text", coords={"text": ["a", "b", "a", "b"]})
    with pytest.raises(ValueError, match="distinct texts"):
        mean(doubled, unit="x")


def test_duplicated_seeds_never_change_an_estimate():
    rng = np.random.default_rng(5)
    seeds = xr.DataArray(rng.normal(1, 1, (16, 4)), dims=("text", "seed"), coords={"text": range(16)})
    once = mean(seeds.mean("seed"), unit="x")
    twice = mean(xr.concat([seeds, seeds], "seed").mean("seed"), unit="x")
    assert once.p_values(at_least(0.5, "r")) == pytest.approx(twice.p_values(at_least(0.5, "r")), rel=1e-9)


def test_pairing_follows_the_text_ids_not_the_order():
    rope = per_text([1, 2, 3, 4])
    shuffled = rope.isel(text=[2, 0, 3, 1])
    assert difference(shuffled + 1, rope, unit="x").is_exact


def test_different_texts_on_the_two_sides_are_refused():
    with pytest.raises(ValueError, match="same texts"):
        difference(per_text([1, 2], "a"), per_text([1, 2], "b"), unit="x")


def test_true_or_false_is_no_number_that_does_not_vary():
    """Yes in all of 32 texts is not yes for certain: such a quantity belongs to `items`."""
    always = xr.DataArray(np.ones(32, bool), dims="text", coords={"text": np.arange(32)})
    with pytest.raises(ValueError, match=r"got true or false; items\.mean"):
        mean(always, unit="x")
    assert not items.mean(always.astype(float), unit="x").is_exact


def test_a_ratio_is_compared_with_no_other_scale_and_nothing_else_with_a_ratio():
    ones = xr.DataArray(np.linspace(0.9, 1.1, 8), dims="text")
    lower, fewer = at_most(-0.05, "lower"), at_most(0.95, "fewer", scale="ratio")
    with pytest.raises(ValueError, match="expected a ratio, as the region declares; got a difference"):
        difference(ones, ones, unit="x").p_values(fewer)
    with pytest.raises(ValueError, match="expected a difference, as the region declares; got a ratio"):
        ratio(ones, ones).p_values(lower)
    assert mean(ones, unit="x").p_values(lower).support > 0.5  # a rate and a difference have one unit
    with pytest.raises(ValueError, match="expected a scale of difference, ratio, rate; got 'percent'"):
        at_most(0.95, "fewer", scale="percent")  # pyright: ignore[reportArgumentType] - refused
