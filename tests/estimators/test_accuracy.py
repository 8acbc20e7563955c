"""Accuracies, their limits and what an intervention takes of them, against hand counts and theory."""

import numpy as np
import pytest
import xarray as xr

from dropeact.estimators import Untestable, mean, tasks
from dropeact.estimators.accuracy import (
    Bounded,
    average,
    combined,
    lost_share,
    require_above_chance,
    require_found,
    require_removed,
    task_items,
    wilson,
)
from dropeact.estimators.outcomes import remarking


def items(values, name="item"):
    return xr.DataArray(
        np.asarray(values, float), dims="text", coords={"text": [f"{name}-{i}" for i in range(len(values))]}
    )


def right(share, n=100, name="item"):
    return items([1.0] * round(share * n) + [0.0] * (n - round(share * n)), name)


def test_wilson_against_paper():
    # Brown, Cai and DasGupta (2001): 0 of 10 gives 0 .. 0.278; 12 of 20, as the study printed, 0.387 .. 0.781
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0.6, 20) == pytest.approx((0.3866, 0.7812), abs=1e-4)


def test_a_baseline_at_chance_is_untestable_and_names_its_accuracy():
    require_above_chance(right(0.60), "cities")
    with pytest.raises(Untestable, match=r"cities: baseline accuracy 0.59 of 100 items is at chance"):
        require_above_chance(right(0.59), "cities")
    with pytest.raises(Untestable, match=r"accuracy 0.30"):
        require_above_chance(right(0.30), "cities")


def test_a_baseline_that_finds_too_little_is_untestable_and_names_its_rate():
    require_found(right(0.16), "passkey")
    with pytest.raises(Untestable, match=r"exact match 0.15 of 100 items, lower bound 0.09 < 0.1"):
        require_found(right(0.15), "passkey")
    with pytest.raises(Untestable, match=r"exact match 0.00"):
        require_found(right(0.0), "passkey")


@pytest.mark.parametrize("broken", ["dropped", "nan"])
def test_a_wrong_denominator_is_caught(broken):
    scores = right(0.9).assign_coords(task=("text", ["cities"] * 100))
    assert task_items(scores, "cities", 100).sizes["text"] == 100
    scores = scores.isel(text=slice(0, 92)) if broken == "dropped" else scores.where(scores["text"] != "item-3")
    with pytest.raises(Untestable, match=r"cities: 9\d of 100 items"):
        task_items(scores, "cities", 100)


def test_lost_share_against_hand_count():
    before, after = right(0.9), right(0.6)
    share = lost_share(before, after, chance=0.5)
    assert float(share.values.mean()) == pytest.approx(0.3 / 0.4)
    assert float(lost_share(before, before, chance=0.5).values.std()) == pytest.approx(0.0, abs=1e-12)
    assert float(lost_share(before, right(0.0), chance=0.0).values.mean()) == pytest.approx(1.0)
    # 1 - left = 0.75, over 0.4: right before and wrong after is the most, the reverse the least
    assert share.most == pytest.approx(0.75 - ((0 - 0.6) - 0.25 * (1 - 0.9)) / 0.4)
    assert share.most == pytest.approx(float(share.values.max()))
    assert share.least == pytest.approx(0.75 - ((1 - 0.6) - 0.25 * (0 - 0.9)) / 0.4)
    assert share.least <= share.values.min()


def test_a_difference_is_at_least_the_least_minus_the_most_against_hand_count():
    values = items([0.0, 1.0])
    difference = Bounded(values, -1.0, 2.0) - Bounded(values + 1, -3.0, 5.0)
    assert (difference.least, difference.most) == (-1 - 5, 2 - (-3))
    assert difference.values.values.tolist() == [-1, -1]


def test_lost_share_has_the_spread_of_a_resampled_ratio():
    rng = np.random.default_rng(0)
    before = (rng.random(400) < 0.85).astype(float)
    after = np.where(rng.random(400) < 0.5, before, rng.random(400) < 0.5)
    share = lost_share(items(before), items(after), chance=0.5)
    drawn = rng.integers(0, 400, (4000, 400))
    ratios = 1 - (after[drawn].mean(1) - 0.5) / (before[drawn].mean(1) - 0.5)
    assert float(share.values.std(ddof=1)) / 20 == pytest.approx(ratios.std(), rel=0.1)


def test_combined_groups_have_the_mean_and_error_of_independent_groups_against_theory():
    rng = np.random.default_rng(1)
    one, other = items(rng.normal(2, 1, 50), "one"), items(rng.normal(0.5, 3, 200), "other")
    pooled = combined([(1.0, one), (-1.0, other)])
    assert pooled.sizes["text"] == len(set(pooled["text"].values.tolist())) == 250
    assert float(pooled.mean()) == pytest.approx(float(one.mean() - other.mean()))
    error = np.sqrt(float(one.var(ddof=1)) / 50 + float(other.var(ddof=1)) / 200)
    assert float(pooled.std(ddof=1)) / np.sqrt(250) == pytest.approx(error, rel=0.02)


def test_an_average_weighs_tasks_and_not_items():
    values = average({"large": right(1.0, 200, "l"), "small": right(0.0, 20, "s")})
    assert mean(values, unit="share").value == pytest.approx(0.5)


def checks(ratio, sinks, *, there=150.0, above=None):
    made = {
        "first_ratio": (("selected_on", "condition"), [[there, ratio]] * 2),
        "sink_rate": (("selected_on", "condition"), [[0.9, sinks]] * 2),
    }
    if above is not None:
        made["largest_ratio"] = (("selected_on", "condition"), [[there, above]] * 2)
    return xr.Dataset(made, coords={"condition": ["baseline", "first-mlp"], "selected_on": ["A", "B"]})


@pytest.mark.parametrize(
    ("checked", "reason"),
    [
        (checks(60.0, 0.1), "was not removed, it is still 60.0 times"),
        (checks(1.4, 0.9), "sink rate did not fall"),
        (checks(1.4, 0.88), "sink rate did not fall"),
        (checks(1.4, 0.1, there=1.5), "no norm to remove at this layer, the first token's is 1.5 times"),
        (checks(1.4, 0.1, there=np.nan), "no norm to remove at this layer"),
        (checks(np.nan, 0.1), "was not removed"),
        (checks(1.4, np.nan), "sink rate did not fall"),
        (checks(1.4, 0.1, above=100.0), "written again above, 100.0 times"),
    ],
)
def test_an_intervention_that_removed_nothing_is_untestable(checked, reason):
    with pytest.raises(Untestable, match=reason):
        require_removed(checked, "first-mlp", "rope")


def test_an_intervention_that_removed_the_norm_may_leave_a_smaller_one_above():
    require_removed(checks(1.4, 0.1), "first-mlp", "rope")
    require_removed(checks(1.4, 0.1, above=40.0), "first-mlp", "rope")


def test_a_check_that_only_one_half_passes_is_untestable():
    checked = checks(1.4, 0.1)
    checked["first_ratio"][1, 1] = np.nan
    with pytest.raises(Untestable, match="was not removed"):
        require_removed(checked, "first-mlp", "rope")


GOOD = {"first_ratio": (150.0, 1.4), "largest_ratio": (150.0, 2.0), "sink_rate": (0.9, 0.1)}


def by_half(name, *halves):
    """Checks that pass, (undisturbed, disturbed), but for those of one name in each half."""
    made = {key: [GOOD[key]] * 2 for key in GOOD} | {name: halves}
    return xr.Dataset(
        {key: (("selected_on", "condition"), np.array(value)) for key, value in made.items()},
        coords={"condition": ["baseline", "first-mlp"], "selected_on": ["A", "B"]},
    )


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("first_ratio", (9.0, 1.4), "no norm to remove at this layer, the first token's is 9.0 times"),
        ("first_ratio", (150.0, 3.0), "was not removed, it is still 3.0 times"),
        ("largest_ratio", (150.0, 100.0), "written again above, 100.0 times"),
        ("sink_rate", (0.9, 0.9), "sink rate did not fall"),
    ],
)
@pytest.mark.parametrize("half", [0, 1])
def test_a_norm_removed_in_one_half_alone_is_untestable(name, bad, reason, half):
    require_removed(by_half(name, GOOD[name], GOOD[name]), "first-mlp", "rope")
    with pytest.raises(Untestable, match=reason):
        require_removed(by_half(name, *((bad, GOOD[name]) if half == 0 else (GOOD[name], bad))), "first-mlp", "rope")


def half_right(right=()):
    """Every second item of each task right, all of the tasks in `right`, undisturbed and disturbed."""
    names = [(task, i) for task in tasks.SIZES for i in range(tasks.SIZES[task])]
    scores = np.array([[1 if task in right else i % 2] * 2 for task, i in names])
    return xr.Dataset(
        {"correct": (("text", "condition"), scores), "log_odds": (("text", "condition"), scores - 0.5)},
        coords={
            "text": [f"{task}-{i}" for task, i in names],
            "task": ("text", [task for task, _ in names]),
            "condition": ["baseline", "massive"],
        },
    )


def test_a_model_that_performs_no_task_is_untestable_with_every_accuracy():
    with pytest.raises(Untestable, match=r"rope cities: .*0.50 of 200.*; rope sports: .*0.50 of 100"):
        tasks.counted(half_right(), xr.Dataset(), tasks.PARAMETRIC, "massive", name="rope")


def test_a_task_at_chance_beside_one_that_counts_is_remarked_on_with_its_accuracy():
    with remarking() as remarks:
        found = tasks.counted(half_right({"cities"}), xr.Dataset(), tasks.PARAMETRIC, "massive", name="rope")
    assert list(found) == ["cities"]
    assert remarks == ["Left out: rope sports: baseline accuracy 0.50 of 100 items is at chance (0.5)"]
    with remarking() as remarks:
        tasks.counted(half_right({"cities", "sports"}), xr.Dataset(), tasks.PARAMETRIC, "massive", name="rope")
    assert remarks == []


def test_an_item_without_a_finite_probability_is_no_wrong_answer():
    asked = half_right({"cities"})
    asked["log_odds"] = asked["log_odds"].astype(float)
    asked["log_odds"][3, 1] = np.nan
    with pytest.raises(Untestable, match="cities: 199 of 200 items"):
        tasks.answers(asked, "cities", "massive", name="rope")


def scored(values):
    """Log-probabilities of four candidates: prompt, form, length, condition, candidate."""
    return xr.Dataset(
        {"candidate_log_probability": (("text", "form", "length", "condition", "candidate"), values)},
        coords={
            "length": [256, 512],
            "condition": ["baseline", "massive"],
            "candidate": ["exact", "near-1", "near-2", "near-3"],
        },
    )


def test_the_number_is_ranked_first_where_it_alone_scores_highest_against_hand_count():
    scores = xr.DataArray(
        [[-1.0, -2, -3, -4], [-2, -1, -3, -4], [-1, -1, -3, -4], [-1, -2, np.nan, -4]],
        dims=("text", "candidate"),
        coords={"candidate": ["exact", "near-1", "near-2", "near-3"]},
    )
    np.testing.assert_array_equal(tasks.ranked_first(scores), [1, 0, 0, np.nan])


def test_ranking_is_remarked_on_at_the_shortest_length_where_it_was_measured_against_hand_count():
    values = np.full((4, 2, 2, 2, 4), -5.0)
    values[:3, :, 0, 0, 0] = -1  # undisturbed: three of four prompts in both forms
    values[:3, 0, 0, 1, 0] = -1  # disrupted: the same three in one form of two
    values[..., 1, :, 0] = -1  # longer: all
    with remarking() as remarks:
        tasks.remark_ranking(scored(values), "massive", name="DroPE")
    said = "By log-probability DroPE ranks the right number above three near misses in 0.75 of the prompts"
    assert remarks == [f"{said} of 256 tokens (both forms), disrupted in 0.38 (chance 0.25)"]
    values[0, 0, 0, 1, 2] = np.nan
    with remarking() as silent:
        tasks.remark_ranking(scored(values), "massive", name="DroPE")
        tasks.remark_ranking(scored(values).drop_vars("candidate_log_probability"), "massive", name="DroPE")
    assert silent == []
