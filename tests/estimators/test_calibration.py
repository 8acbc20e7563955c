"""Fast simulations: wrong verdicts per record <= 2.5 %, per family <= 5 %, beyond Monte Carlo error."""

import numpy as np
import pytest
from scipy import stats

from dropeact.estimators import Estimate
from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.regions import at_least, at_most, within
from dropeact.verdicts.rule import decide, holm

RUNS = 2000


def bound(rate, runs=RUNS):
    """The 99.9 % binomial bound on an observed rate whose true value is `rate`."""
    return stats.binom.ppf(0.999, runs, rate) / runs


def noise(kind, rng, size):
    return rng.normal(size=size) if kind == "normal" else rng.standard_t(3, size) / np.sqrt(3)


def estimates(kind, center, n, seed):
    rng = np.random.default_rng(seed)
    for sample in center + noise(kind, rng, (RUNS, n)):
        yield Estimate(sample, np.ones(n), "difference", "x")


@pytest.mark.parametrize("kind", ["normal", "t3"])
@pytest.mark.parametrize("n", [8, 32])
def test_half_line_on_the_bound_is_rarely_decided_wrongly(kind, n):
    region = at_least(0.5, "r")
    p = np.array([e.p_values(region) for e in estimates(kind, 0.5, n, 1)])
    assert (p[:, 0] <= ALPHA).mean() <= bound(ALPHA)
    assert (p[:, 1] <= ALPHA).mean() <= bound(ALPHA)


@pytest.mark.parametrize("kind", ["normal", "t3"])
def test_margin_on_the_bound_is_rarely_supported(kind):
    p = np.array([e.p_values(within(-0.5, 0.5, "r")) for e in estimates(kind, 0.5, 32, 2)])
    assert (p[:, 0] <= ALPHA).mean() <= bound(ALPHA)


@pytest.mark.parametrize("kind", ["normal", "t3"])
def test_margin_inside_is_rarely_contradicted(kind):
    p = np.array([e.p_values(within(-0.01, 0.01, "r")) for e in estimates(kind, 0.0, 16, 3)])
    assert (p[:, 1] <= ALPHA).mean() <= bound(ALPHA)


@pytest.mark.parametrize("kind", ["normal", "t3"])
def test_ratio_on_the_bound_is_rarely_decided_wrongly(kind):
    rng = np.random.default_rng(4)
    wrong = np.zeros(2)
    for _ in range(RUNS):
        rope = 10 + 2 * noise(kind, rng, 32)
        estimate = Estimate(0.95 * rope + noise(kind, rng, 32), rope, "ratio", "ratio")
        wrong += np.array(estimate.p_values(at_most(0.95, "r", scale="ratio"))) <= ALPHA
    assert (wrong / RUNS <= bound(ALPHA)).all()


@pytest.mark.parametrize("kind", ["normal", "t3"])
def test_interval_coverage(kind):
    covered = [e.low <= 0.0 <= e.high for e in estimates(kind, 0.0, 32, 5)]
    assert np.mean(covered) >= 0.94 - 3.1 * np.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("kind", ["normal", "t3"])
def test_family_of_true_nulls_is_rarely_decided_at_all(kind):
    """Eight records on their bound: any decided verdict, supported or contradicted, is a wrong one."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(RUNS // 4):
        family = [Estimate(noise(kind, rng, 32), np.ones(32), "difference", "x") for _ in range(8)]
        p = [e.p_values(at_least(0.0, "r")) for e in family]
        adjusted = holm([item.decisive for item in p])
        wrong += any(decide(item, a) != "inconclusive" for item, a in zip(p, adjusted, strict=True))
    assert wrong / (RUNS // 4) <= bound(0.05, RUNS // 4)


def test_seeds_counted_as_texts_would_fail_this_calibration():
    """The defect that the suite guards against: ten copies of each text make a null effect look certain."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(300):
        copied = np.repeat(rng.normal(size=8), 10)
        wrong += Estimate(copied, np.ones(80), "difference", "x").p_values(at_least(0.0, "r")).support <= ALPHA
    assert wrong / 300 > bound(ALPHA, 300)
