"""Stored answers of one model as right or wrong per pair of facts or per prompt, on answers that are written out."""

import numpy as np
import pytest
import xarray as xr

from dropeact.estimators import tasks
from dropeact.estimators.outcomes import Untestable

ASKED = {"text": list("abcd"), "form": ["plain", "cued"], "length": [512, 256], "condition": ["baseline", "massive"]}


def retrieval(**lost):
    """Four prompts, all found but those that `lost` names by prompt and form, at 256 tokens under the condition."""
    exact = np.ones((4, 2, 2, 2))
    exact[:, :, 0] = 0  # at 512 tokens none is
    for prompt, forms in lost.items():
        exact["abcd".index(prompt), forms, 1, 1] = 0
    scores = np.full((*exact.shape, 2), -1.0)
    dims = ("text", "form", "length", "condition")
    return xr.Dataset(
        {"exact": (dims, exact), "candidate_log_probability": ((*dims, "candidate"), scores)},
        coords=ASKED | {"candidate": ["near-1", "exact"]},
    )


def test_a_passkey_is_found_as_often_as_in_both_forms_at_the_shortest_length_against_hand_count():
    before, after = tasks.passkeys(retrieval(b=[0], d=[0, 1]), "massive", name="rope")
    assert before.dims == after.dims == ("text",)
    assert before.values.tolist() == [1, 1, 1, 1]
    assert after.values.tolist() == [1, 0.5, 1, 0]
    assert after["text"].values.tolist() == list("abcd")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_number_without_a_finite_probability_is_neither_found_nor_missed(value):
    seen = retrieval()
    seen["candidate_log_probability"].loc[
        {"text": "c", "form": "cued", "condition": "massive", "candidate": "exact"}
    ] = value
    seen["candidate_log_probability"].loc[{"text": "a", "candidate": "near-1"}] = value  # of a near miss says nothing
    before, after = tasks.passkeys(seen, "massive", name="rope")
    assert before.values.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(after, [1, 1, np.nan, 1])


def test_a_model_that_finds_too_few_numbers_undisturbed_is_named():
    seen = retrieval()
    seen["exact"].loc[{"condition": "baseline"}] = 0
    with pytest.raises(Untestable, match=r"^DroPE passkey: baseline exact match 0.00 of 4 items"):
        tasks.passkeys(seen, "massive", name="DroPE")


def test_chance_is_one_half_of_two_completions_and_none_of_five_digits():
    assert {task: tasks.chance(task) for task in tasks.TASKS} == {
        "cities": 0.5,
        "sports": 0.5,
        "reviews": 0.5,
        "passkey": 0.0,
    }
    assert (tasks.PARAMETRIC, tasks.CONTEXTUAL) == (("cities", "sports"), ("reviews", "passkey"))
    assert tasks.SIZES == {"cities": 200, "sports": 100, "reviews": 100}


def test_what_is_lost_is_a_share_of_what_lies_above_the_chance_of_each_task_against_hand_count():
    before = xr.DataArray([1.0, 1.0, 1.0, 0.6], dims="text")
    after = xr.DataArray([1.0, 0.4, 1.0, 0.4], dims="text")
    lost = tasks.lost_shares({"reviews": (before, after), "passkey": (before, after)})
    assert float(lost["reviews"].values.mean()) == pytest.approx((0.9 - 0.7) / (0.9 - 0.5))
    assert float(lost["passkey"].values.mean()) == pytest.approx((0.9 - 0.7) / 0.9)


def test_facts_and_numbers_that_count_are_read_under_the_condition_that_is_asked_for():
    names = [(task, number + 1) for task, size in tasks.SIZES.items() for number in range(size)]
    right = np.ones((len(names), 3))
    right[::2, 1] = 0  # under the first of two conditions one of each pair is wrong
    knowledge = xr.Dataset(
        {
            "correct": (("text", "condition"), right),
            "yes_correct": (("text", "condition"), 0 * right + [1, 0, 0]),
            "log_odds": (("text", "condition"), np.ones_like(right)),
        },
        coords={
            "text": [f"{task}-{number:03d}" for task, number in names],
            "task": ("text", [task for task, _ in names]),
            "condition": ["baseline", "massive", "random"],
        },
    )
    found = tasks.counted(knowledge, retrieval(a=[0, 1]), ["sports", "passkey"], "massive", name="rope")
    assert list(found) == ["sports", "passkey"]
    assert [set(values.values.tolist()) for values in found["sports"]] == [{1.0}, {0.5}]
    assert found["sports"][0].sizes == {"text": 50}
    assert found["passkey"][1].values.tolist() == [0, 1, 1, 1]
    other = tasks.counted(knowledge, retrieval(), ["sports"], "random", name="rope")
    assert set(other["sports"][1].values.tolist()) == {1.0}
    by_yes = tasks.counted(knowledge, retrieval(), ["sports"], "random", name="rope", score="yes_correct")
    assert set(by_yes["sports"][1].values.tolist()) == {0.0}
