import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dropeact import published
from dropeact.estimators import difference, ratio
from dropeact.estimators.prediction import published_effect, replication

RUNS = 800


def per_text(values):
    return xr.DataArray(np.asarray(values, float), dims="text", coords={"text": range(len(values))})


def printed(rope, drope):
    """What a study prints of two samples: means and standard deviations."""
    return {
        "rope": rope.mean(),
        "rope_sd": rope.std(ddof=1),
        "drope": drope.mean(),
        "drope_sd": drope.std(ddof=1),
    }


def covered(scale, ours, theirs, rng):
    """How often a second study of the same population lies inside the interval."""
    inside = 0
    for _ in range(RUNS):
        rope, drope = rng.normal(100, 8, ours), rng.normal(70, 12, ours)
        estimate = (
            ratio(per_text(drope), per_text(rope))
            if scale == "ratio"
            else difference(per_text(drope), per_text(rope), unit="x")
        )
        again = printed(rng.normal(100, 8, theirs), rng.normal(70, 12, theirs))
        effect = published_effect(again, theirs, scale=scale)
        assert effect is not None
        inside += replication(estimate, effect).inside
    return inside / RUNS


@pytest.mark.parametrize(("scale", "ours", "theirs"), [("difference", 32, 10), ("ratio", 32, 10), ("ratio", 8, 10)])
def test_a_second_study_lies_inside_95_of_100_times(scale, ours, theirs):
    assert covered(scale, ours, theirs, np.random.default_rng(ours + theirs)) == pytest.approx(0.95, abs=0.025)


def test_difference_against_welchs_interval():
    """With our texts as one sample of differences and one published model without spread: Welch's t."""
    rng = np.random.default_rng(1)
    gaps, drope = rng.normal(3, 2, 20), rng.normal(5, 1, 10)
    estimate = difference(per_text(gaps), per_text(np.zeros(20)), unit="x")
    effect = published_effect(printed(np.zeros(10), drope), 10, scale="difference")
    assert effect is not None
    found = replication(estimate, effect)
    reference = stats.ttest_ind(gaps, drope, equal_var=False).confidence_interval(0.95)
    assert found.high - found.published == pytest.approx(reference.high, rel=1e-9)
    assert found.low - found.published == pytest.approx(reference.low, rel=1e-9)


def test_published_counts_against_hand_computation():
    entry = published.claims()["massive-query-reduction"]
    effect = published_effect(entry.figures, entry.n, scale="ratio")
    assert effect is not None
    assert effect.value == pytest.approx(901.4 / 1475.5)
    error = 901.4 / 1475.5 * np.sqrt((36.0 / 901.4) ** 2 + (22.6 / 1475.5) ** 2) / np.sqrt(10)
    assert np.sqrt(sum(effect.variances)) == pytest.approx(error)


@pytest.mark.parametrize(
    ("change", "same_sign", "inside", "size"),
    [(0.61, True, True, 1.0), (0.8, True, False, 0.51), (1.4, False, False, -1)],
)
def test_sign_interval_and_size_of_known_effects(change, same_sign, inside, size):
    rope = np.random.default_rng(2).normal(250, 5, 32)
    noise = np.random.default_rng(3).normal(0, 2, 32)
    estimate = ratio(per_text(change * rope + noise - noise.mean()), per_text(rope))
    effect = published_effect(published.claims()["massive-query-reduction"].figures, 10, scale="ratio")
    assert effect is not None
    found = replication(estimate, effect)
    assert (found.same_sign, found.inside) == (same_sign, inside)
    assert found.effect_ratio == pytest.approx(size, abs=0.04)


@pytest.mark.parametrize(
    ("figures", "n"),
    [({"rope": 1, "drope": 2}, 10), ({"rope": 1, "drope": 2, "rope_sd": 1, "drope_sd": 1}, None), ({"r_sd": 0.1}, 5)],
)
def test_no_comparison_without_a_printed_spread_and_sample(figures, n):
    assert published_effect(figures, n, scale="ratio") is None


def test_no_comparison_with_a_rate_or_with_a_study_of_one_text():
    figures = {"rope": 4.0, "rope_sd": 1.0, "drope": 2.0, "drope_sd": 1.0}
    assert published_effect(figures, 10, scale="rate") is None
    assert published_effect(figures, 1, scale="difference") is None
    assert published_effect(figures, 2, scale="difference") is not None


@pytest.mark.parametrize(
    ("scale", "value", "variances"),
    [
        ("difference", -2.0, (0.6**2 / 9, 3.0**2 / 9)),
        ("ratio", 0.5, ((0.6 / 4) ** 2 / 9, (0.5 * 3.0 / 4) ** 2 / 9)),  # delta method
    ],
)
def test_the_spread_of_a_published_effect_against_hand_computation(scale, value, variances):
    figures = {"rope": 4.0, "rope_sd": 3.0, "drope": 2.0, "drope_sd": 0.6}
    effect = published_effect(figures, 9, scale=scale)
    assert effect is not None
    assert (effect.value, effect.degrees, effect.scale) == (value, 8, scale)
    assert effect.variances == pytest.approx(variances)


def test_an_interval_has_the_degrees_of_all_three_spreads_against_satterthwaite():
    """Each variance is divided by its own n - 1: of ours, and of both published models."""
    rng = np.random.default_rng(4)
    gaps = rng.normal(3, 2, 20)
    effect = published_effect({"rope": 4.0, "rope_sd": 3.0, "drope": 6.0, "drope_sd": 0.6}, 5, scale="difference")
    assert effect is not None
    found = replication(difference(per_text(gaps), per_text(np.zeros(20)), unit="x"), effect)
    parts, degrees = np.array([gaps.var(ddof=1) / 20, 0.6**2 / 5, 3.0**2 / 5]), np.array([19, 4, 4])
    half = stats.t.isf(0.025, parts.sum() ** 2 / (parts**2 / degrees).sum()) * np.sqrt(parts.sum())
    assert (found.low, found.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half))


def test_an_effect_printed_without_spread_is_clear_unless_it_is_none():
    estimate = ratio(per_text([3.0, 3.0]), per_text([2.0, 2.0]))
    figures = {"rope": 4.0, "rope_sd": 0.0, "drope": 5.0, "drope_sd": 0.0}
    for drope, size in ((5.0, 2.0), (3.0, -2.0), (4.0, None)):
        effect = published_effect(figures | {"drope": drope}, 10, scale="ratio")
        assert effect is not None
        found = replication(estimate, effect)
        assert (found.low, found.high, found.inside) == (1.5, 1.5, False)
        assert np.isnan(found.effect_ratio) if size is None else found.effect_ratio == size


def test_every_catalogued_spread_is_comparable():
    found = {
        id: published_effect(entry.figures, entry.n, scale="ratio")
        for id, entry in published.claims().items()
        if published_effect(entry.figures, entry.n, scale="ratio") is not None
    }
    assert set(found) >= {"massive-query-reduction", "massive-key-reduction", "massive-value-unchanged"}


def test_an_effect_of_nothing_has_no_ratio_and_no_sign():
    estimate = difference(per_text([1.0, 2, 3]), per_text([0.0, 0, 0]), unit="x")
    effect = published_effect({"rope": 1, "drope": 1, "rope_sd": 1, "drope_sd": 1}, 10, scale="difference")
    assert effect is not None
    found = replication(estimate, effect)
    assert not found.same_sign
    assert np.isnan(found.effect_ratio)


def test_scales_that_differ_are_refused():
    effect = published_effect({"rope": 1, "drope": 1, "rope_sd": 1, "drope_sd": 1}, 10, scale="difference")
    assert effect is not None
    with pytest.raises(ValueError, match="like with like"):
        replication(ratio(per_text([1, 2, 3]), per_text([2, 2, 3])), effect)
