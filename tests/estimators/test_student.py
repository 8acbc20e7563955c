import numpy as np
import pytest
from scipy import stats

from dropeact.estimators.student import critical, normal_critical, tail

RNG = np.random.default_rng(0)
FREEDOM = [1, 2.5, 15, 31, 239, 1e6, np.inf]


@pytest.mark.parametrize("freedom", FREEDOM)
def test_tails_against_scipy(freedom):
    for t in (*RNG.normal(scale=5, size=100).tolist(), 0.0, 40.0, -40.0):
        assert tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-12)
        assert tail(-t, freedom) == pytest.approx(stats.t.cdf(t, freedom), rel=1e-12)


@pytest.mark.parametrize("freedom", FREEDOM)
def test_critical_values_against_scipy(freedom):
    for alpha in (0.025, 0.025 / 11, *RNG.uniform(size=100).tolist()):
        assert critical(alpha, freedom) == pytest.approx(stats.t.isf(alpha, freedom), rel=1e-12)
        assert normal_critical(alpha) == pytest.approx(stats.norm.isf(alpha), rel=1e-12)
