import itertools

import numpy as np
import pytest
from scipy import stats

from dropeact.estimators.power import chance, deciding_texts, power, sign_flip, skewness, smallest_effect


def test_smallest_effect_against_the_design():
    assert smallest_effect(32) == pytest.approx(0.51, abs=0.005)
    assert smallest_effect(32, 8) == pytest.approx(0.67, abs=0.005)


def test_power_against_simulation():
    rng = np.random.default_rng(0)
    samples = rng.normal(0.5, 1, (20_000, 32))
    reached = (np.asarray(stats.ttest_1samp(samples, 0, axis=1, alternative="greater"))[1] < 0.025).mean()
    assert power(0.5, 32) == pytest.approx(reached, abs=0.012)


def test_power_of_two_halves_against_simulation():
    rng = np.random.default_rng(1)
    halves = rng.normal(0.5, 1, (20_000, 2, 24))
    p = np.asarray(stats.ttest_1samp(halves, 0, axis=2, alternative="greater")[1])
    assert chance(0.5, 48, 0.025, 2) == pytest.approx((2 * p.min(1) < 0.025).mean(), abs=0.012)
    n = deciding_texts(0.5, halves=2)
    assert n is not None
    assert chance(0.5, n, 0.025, 2) >= 0.8 > chance(0.5, n - 2, 0.025, 2)
    assert chance(smallest_effect(n, halves=2), n, 0.025, 2) == pytest.approx(0.8)


def test_deciding_texts_inverts_the_power():
    n = deciding_texts(0.3, 4)
    assert n is not None
    assert power(0.3, n, 0.025 / 4) >= 0.8 > power(0.3, n - 1, 0.025 / 4)


@pytest.mark.parametrize("effect", [0.0, float("nan"), 1e-6])
def test_no_number_of_texts_decides_an_effect_that_is_not_there(effect):
    assert deciding_texts(effect) is None


def test_sign_flip_against_full_enumeration():
    contrast = np.array([0.5, 1.0, -0.2, 0.8, 0.1, 0.9])
    sums = [np.dot(signs, contrast) for signs in itertools.product([1, -1], repeat=6)]
    expected = np.mean([total >= contrast.sum() - 1e-12 for total in sums])
    assert sign_flip(contrast) == pytest.approx(expected)


def test_sign_flip_is_never_zero_beyond_enumeration():
    assert sign_flip(np.ones(40)) == pytest.approx(1 / 20_001)


def test_skewness_against_scipy_and_without_spread():
    values = np.random.default_rng(1).exponential(size=50)
    assert skewness(values) == pytest.approx(float(stats.skew(values)))
    assert skewness(np.ones(5)) == 0.0
    assert skewness(values[:3]) == pytest.approx(float(stats.skew(values[:3])))
    assert skewness(values[:2]) == 0.0  # two values are symmetric about their mean


@pytest.mark.parametrize("n", [2, 3, 8, 16, 32])
@pytest.mark.parametrize("family", [1, 10])
def test_smallest_effect_is_found_for_every_sample_and_family(n, family):
    assert power(smallest_effect(n, family), n, 0.025 / family) == pytest.approx(0.8, abs=1e-3)
