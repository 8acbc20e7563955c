"""Facts whose partner has the other's completion: a pair is one observation, against hand counts and by simulation."""

import numpy as np
import pytest
import xarray as xr

from dropeact.corpus.facts import TASKS, facts
from dropeact.estimators import contrasts, items, tasks
from dropeact.estimators.accuracy import lost_share

RUNS = 1500


def answered(right, task="cities"):
    """Answers to as many facts, named as the suite names them."""
    names = [f"{task}-{number + 1:03d}" for number in range(len(right))]
    return xr.DataArray(
        np.asarray(right, float), dims="text", coords={"text": names, "task": ("text", [task] * len(right))}
    )


def test_a_pair_has_the_mean_of_its_two_facts_in_whatever_order_they_come_against_hand_count():
    right = answered([1, 1, 1, 0, 0, 0, 0, 1])
    for order in (slice(None), [7, 0, 4, 2, 6, 1, 5, 3], [0, 2, 4, 6, 1, 3, 5, 7]):
        pairs = tasks.by_pair(right.isel(text=order))
        assert {name: float(pairs.sel(text=name)) for name in pairs["text"].values} == {
            "cities pair 1": 1.0,
            "cities pair 2": 0.5,
            "cities pair 3": 0.0,
            "cities pair 4": 0.5,
        }


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_prefers_a_completion_whatever_is_asked_has_no_spread_over_pairs(task):
    asked = [item for item in facts() if item.task == task]
    preferred = [max(item.true, item.false) == item.true for item in asked]
    right = answered(preferred, task).assign_coords(text=[item.id for item in asked])
    assert tasks.by_pair(right).values.tolist() == [0.5] * (len(asked) // 2)
    assert float(right.std(ddof=1)) > 0.5  # fact by fact it looks like a coin


def correlated(rng, n, rate, alike):
    """Answers to n facts; in a share of the pairs the second is right where the first is (alike) or is not."""
    first, own = rng.random((2, n // 2))
    partner = first if alike else 1 - first
    second = np.where(rng.random(n // 2) < 0.8, partner, own)
    return answered(np.stack([first < rate, second < rate], 1).ravel())


def wrong(judged, *, alike, rate=0.6, n=100):
    """How often a rate that lies on its bound is called larger or smaller, pairs or facts being counted."""
    rng, decided = np.random.default_rng(3), 0
    for _ in range(RUNS):
        tails = items.mean(judged(correlated(rng, n, rate, alike)), unit="x").tails(rate)
        decided += min(tails) <= contrasts.ALPHA
    return decided / RUNS


def test_pairs_are_decided_as_promised_where_facts_are_not_by_simulation():
    assert wrong(tasks.by_pair, alike=True) < 0.06  # 2 x 0.025, and 2 standard errors
    assert wrong(tasks.by_pair, alike=False) == pytest.approx(0.05, abs=0.02)
    assert wrong(lambda facts: facts, alike=True) > 0.10  # too often
    assert wrong(lambda facts: facts, alike=False) < 0.01  # hardly ever: nothing small is seen


def test_a_share_lost_of_pairs_on_its_bound_is_decided_as_promised_by_simulation():
    """Half of the accuracy above chance is lost, in one task of pairs and one of prompts."""
    rng, above, below = np.random.default_rng(4), 0, 0
    for _ in range(RUNS):
        shares = []
        for n, rate, chance in ((100, 0.9, 0.5), (100, 0.8, 0.0)):
            before = correlated(rng, n, rate, alike=False)
            kept = answered(rng.random(n) < 0.5)
            after = xr.where(kept == 1, before, (correlated(rng, n, 0.5, alike=False) if chance else 0.0))
            both = (tasks.by_pair(values) for values in (before, after.assign_coords(before.coords)))
            shares.append(lost_share(*both, chance=chance) if chance else lost_share(before, after, chance=chance))
        shares[1].values["text"] = np.arange(100)
        found = items.combined([(0.5, shares[0]), (0.5, shares[1])], unit="x").tails(0.5)
        above, below = above + (found[0] <= contrasts.ALPHA), below + (found[1] <= contrasts.ALPHA)
    assert max(above, below) / RUNS < 0.035
    assert min(above, below) / RUNS > 0.005
