import numpy as np
import pytest
import xarray as xr

from dropeact.estimators import Argmax, Untestable, argmax, both, every, mean, only, ratio, where_tested
from dropeact.estimators.regions import at_least

HALVES = ["A", "B"] * 8


def layered(means, seed=0, spread=0.1):
    rng = np.random.default_rng(seed)
    values = np.asarray(means)[None] + rng.normal(0, spread, (16, len(means)))
    return xr.DataArray(
        values, dims=("text", "layer"), coords={"text": range(16), "half": ("text", HALVES), "layer": range(len(means))}
    )


def one(center, seed):
    return mean(layered([center], seed).isel(layer=0, drop=True), unit="x")


def test_both_needs_every_part_and_is_contradicted_by_any():
    region = at_least(0.5, "r")
    good, bad = one(1.0, 1), one(0.0, 2)
    together = both({"RoPE": good, "DroPE": bad})
    assert together.p_values(region).support == bad.p_values(region).support
    assert together.p_values(region).contradict == pytest.approx(2 * bad.p_values(region).contradict)
    assert together.weakest(region).label == "DroPE"


def test_both_supported_only_where_all_are():
    p = both({"a": one(1.0, 1), "b": one(1.0, 2)}).p_values(at_least(0.5, "r"))
    assert p.support < 1e-6


def untested():
    raise Untestable("DroPE finds nothing")


def test_a_part_that_cannot_be_tested_keeps_the_whole_from_support_and_counts_among_the_tests():
    region, low = at_least(0.5, "r"), at_least(-0.5, "r")
    good, bad = one(1.0, 1), one(0.0, 2)
    fails = where_tested({"DroPE": untested, "RoPE": lambda: bad})
    assert fails.untested == ("DroPE finds nothing",)
    assert fails.p_values(region) == (1.0, pytest.approx(2 * bad.p_values(region).contradict))
    assert where_tested({"DroPE": untested, "RoPE": lambda: good}).p_values(region) == (1.0, 1.0)
    assert where_tested({"DroPE": lambda: good, "RoPE": lambda: bad}, {"RoPE": low}).p_values(region).support < 1e-4


def test_nothing_is_concluded_of_parts_of_which_none_can_be_tested():
    with pytest.raises(Untestable, match="DroPE finds nothing; DroPE finds nothing"):
        where_tested({"DroPE": untested, "RoPE": untested})


def test_only_holds_at_the_claimed_layer_alone():
    rope = layered([10, 10, 10, 10], 1, 1.0)
    drope = layered([8, 30, 8, 8], 2, 1.0)
    excess = {l: ratio(drope.sel(layer=l, drop=True), rope.sel(layer=l, drop=True)) for l in range(4)}
    assert only(excess, [1], bound=1.0).p_values(at_least(1, "r")).support < 1e-4
    wrong = only(excess, [2], bound=1.0).p_values(at_least(1, "r"))
    assert wrong.support > 0.9
    assert wrong.contradict < 1e-4


def test_only_pays_for_looking_at_every_layer():
    rope, drope = layered([10] * 4, 1, 1.0), layered([8, 30, 8, 8], 2, 1.0)
    excess = {l: ratio(drope.sel(layer=l, drop=True), rope.sel(layer=l, drop=True)) for l in range(4)}
    statement = only(excess, [2], bound=1.0)
    smallest = min(p.contradict for p in statement.part_values(at_least(1, "r")))
    assert statement.p_values(at_least(1, "r")).contradict == pytest.approx(4 * smallest)


def test_argmax_finds_the_planted_layer():
    values = layered([1, 5, 2, 3])
    found = argmax(values, {"A": [1], "B": [1]}, unit="norm")
    assert found.p_values(at_least(0, "r")).support < 1e-6
    assert found.found == "largest at layer 1"


def test_argmax_elsewhere_is_contradicted_by_the_challenger():
    p = argmax(layered([1, 5, 2, 3]), {"A": [3], "B": [3]}, unit="norm").p_values(at_least(0, "r"))
    assert p.support > 0.99
    assert p.contradict < 1e-6


def test_the_lead_that_is_shown_of_a_contradicted_argmax_is_that_of_the_largest_layer_against_hand_count():
    """Far enough behind, the p of every lead is 1: the first of them is not the one that is named."""
    found = argmax(layered([9, 50, 20, 3]), {"A": [3], "B": [3]}, unit="norm")
    assert {lead.tails(0.0)[0] for lead in found.rivals.values()} == {1.0}
    assert found.closest.value == pytest.approx(3 - 50, abs=0.5)
    assert found.found == "largest at layer 1"


def test_argmax_of_a_tie_is_undecided():
    p = argmax(layered([1, 5, 5, 3], seed=3, spread=1.0), {"A": [1], "B": [1]}, unit="norm").p_values(at_least(0, "r"))
    assert p.support > 0.0025
    assert p.contradict > 0.0025


def test_argmax_of_halves_that_disagree_is_undecided():
    """In half A layer 0 leads by 10, in half B layer 1 by 5: neither statement follows."""
    values = layered([10, 10, 1], spread=0.5)
    values[:, 0] += 10 * (values["half"] == "A")
    values[:, 1] += 5 * (values["half"] == "B")
    for claimed in ([0], [0, 2]):
        p = argmax(values, {"A": claimed, "B": claimed}, unit="norm").p_values(at_least(0, "r"))
        assert min(p.support, p.contradict) > 0.025, claimed


def test_the_undecided_lead_is_on_the_side_of_the_estimate_with_the_tests_that_it_takes():
    inside = argmax(layered([1, 5, 4.9, 3], spread=2.0), {"A": [1, 0], "B": [1, 0]}, unit="norm")
    outside = argmax(layered([1, 5, 2, 3], spread=2.0), {"A": [3], "B": [3]}, unit="norm")
    assert (inside.undecided().lead, inside.undecided()[1:]) == (inside.closest, (1, 2))
    assert outside.undecided().lead.value > 0
    assert outside.undecided()[1:] == (1, 2)
    assert every({"RoPE": inside, "DroPE": outside}).undecided().tests == 2


def test_the_winner_of_each_half_is_chosen_on_the_other_against_hand_count():
    """In half A layer 1 leads layer 0 by 9, in half B layer 2 does: chosen on the other half, either leads by 5."""
    values = layered([0, 5, 5], spread=0.01)
    values[:, 1] += 4 * (values["half"] == "A")
    values[:, 2] += 4 * (values["half"] == "B")
    found = argmax(values, {"A": [1, 2], "B": [1, 2]}, unit="norm")
    assert found.rivals[0].value == pytest.approx(5, abs=0.1)
    swapped = argmax(values, {"A": [0], "B": [0]}, unit="norm")
    assert swapped.challenge[0].value == pytest.approx(5, abs=0.1)


def test_argmax_that_claims_every_layer_is_untestable():
    with pytest.raises(Untestable):
        argmax(layered([1, 2]), {"A": [0, 1], "B": [0, 1]}, unit="norm")


def test_argmax_with_nan_is_untestable():
    values = layered([1, 2, 3])
    values[0, 0] = np.nan
    with pytest.raises(Untestable):
        argmax(values, {"A": [2], "B": [2]}, unit="norm")


def test_argmax_tests_each_half_only_where_a_leader_was_chosen():
    values = layered([1, 5, 2, 3], spread=1.0)
    found = argmax(values, {"A": [1], "B": [1]}, unit="norm")
    assert found.rivals_by_half == {}
    halves = [half.tails(0.0)[0] for half in found.challenge_by_half[0]]
    assert found.p_values(at_least(0, "r")).contradict == pytest.approx(min(1.0, 2 * min(halves)))


def test_a_leader_is_chosen_of_two_and_its_support_is_that_of_the_better_half_against_hand_count():
    values = layered([5, 1, 0.5], spread=1.0, seed=3)
    outside = argmax(values, {"A": [0], "B": [0]}, unit="norm")
    assert (set(outside.rivals_by_half), set(outside.challenge_by_half)) == (set(), {0})
    inside = argmax(values, {"A": [0, 1], "B": [0, 1]}, unit="norm")
    assert (set(inside.rivals_by_half), set(inside.challenge_by_half)) == ({2}, set())
    one, other = (half.tails(0.0)[0] for half in inside.rivals_by_half[2])
    assert one != other
    assert inside.p_values(at_least(0, "r")).support == pytest.approx(2 * min(one, other))


def test_a_lead_in_each_half_is_none_where_all_texts_together_lag():
    """One half leads clearly by little; the other, too scattered to show anything, lags by more."""
    clear, scattered = 1 + 0.01 * np.arange(8.0), np.array([-40.0, 30.0] * 4)

    def lead(values):
        return mean(xr.DataArray(values, dims="text", coords={"text": range(len(values))}), unit="x")

    together, halves = lead(np.concatenate([clear, scattered])), [lead(clear), lead(scattered)]
    assert together.value < 0 < halves[0].value
    assert halves[0].tails(0.0)[0] < 1e-6
    assert halves[1].tails(0.0)[1] > 0.025
    found = Argmax({0: together}, {0: together}, "largest at layer 0", {0: halves})
    assert found.p_values(at_least(0, "r")).support == 0.5


def test_argmax_without_one_half_is_untestable():
    values = layered([1, 5, 2, 3])
    with pytest.raises(Untestable, match="half"):
        argmax(values.isel(text=values["half"].values == "A"), {"A": [1], "B": [1]}, unit="norm")


def test_argmax_with_positions_that_differ_between_the_halves():
    """A position claimed of one half is a rival on the other: true of both halves or not supported."""
    values = layered([1, 5, 5, 3], spread=0.01)
    values[:, 1] += 4 * (values["half"] == "A")
    values[:, 2] += 4 * (values["half"] == "B")
    fits, swapped = (argmax(values, {"A": [a], "B": [b]}, unit="norm") for a, b in ((1, 2), (2, 1)))
    assert fits.p_values(at_least(0, "r")).support < 1e-6
    assert swapped.p_values(at_least(0, "r")).support > 0.5
    assert swapped.p_values(at_least(0, "r")).contradict < 1e-6


def test_only_refuses_a_claimed_layer_that_was_not_measured():
    with pytest.raises(ValueError, match=r"got \[7\]"):
        only({0: one(1.0, 1), 1: one(1.0, 2)}, [7], bound=1.0)
