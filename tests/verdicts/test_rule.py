from dataclasses import replace

import numpy as np
import pytest

from dropeact.estimators import Argmax, Conjunction, Estimate, Part, PValues, every
from dropeact.estimators.power import chance, power
from dropeact.estimators.regions import at_least, at_most, within
from dropeact.verdicts.rule import decide, holm, is_exact, shown, why_contradicted, why_inconclusive


def sample(center, spread=0.1, n=16):
    return Estimate(center + spread * np.linspace(-1, 1, n), np.ones(n), "difference", "x")


def test_holm_against_hand_computation():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_absent_records_as_certain_nulls():
    assert holm([0.01], size=8) == pytest.approx([0.08])
    assert holm([0.01, 0.01], size=3) == pytest.approx([0.03, 0.03])


def test_holm_is_monotone_and_capped():
    adjusted = holm([0.9, 0.001, 0.5, 0.02])
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort([0.9, 0.001, 0.5, 0.02])]) >= 0).all()


def test_the_smaller_side_names_the_verdict():
    assert decide(PValues(0.001, 0.999), 0.01) == "supported"
    assert decide(PValues(0.999, 0.001), 0.01) == "contradicted"
    assert decide(PValues(0.001, 0.999), 0.03) == "inconclusive"


@pytest.mark.parametrize(
    ("center", "region", "reason"),
    [
        (-1.0, at_least(0.5, "r"), "opposite"),
        (0.2, at_least(0.5, "r"), "effect too small"),
        (1.0, at_most(-0.5, "r"), "opposite"),
        (-0.2, at_most(-0.5, "r"), "effect too small"),
        (1.0, within(-0.1, 0.1, "r"), "outside the margin"),
        (1.3, at_most(1.0, "not above the bound", scale="ratio"), "opposite"),
        (0.4, at_most(0.1, "at most a tenth", scale="rate"), "too large"),
        (0.8, at_least(1.0, "above the bound", scale="ratio"), "opposite"),
        (-0.5, at_least(0.0, "any difference"), "opposite"),
        (-0.8, at_least(-0.05, "does not lower"), "too small"),
    ],
)
def test_a_contradiction_says_how(center, region, reason):
    assert why_contradicted(sample(center), region) == reason


def test_an_inconclusive_verdict_says_how_many_texts_would_decide():
    text = why_inconclusive(sample(0.48, 0.2), at_least(0.5, "r"), 4)
    assert text.startswith("about ")
    assert "would probably be missed (family of 4)" in text


def test_an_estimate_on_the_bound_would_never_be_decided():
    assert why_inconclusive(sample(0.5), at_least(0.5, "r"), 1).startswith("more than 100,000 texts would decide")


def test_an_argmax_is_exact_only_where_nothing_in_it_varies():
    """Otherwise a challenge that varies over texts would be decided outside the family."""
    constant = sample(-1.0, 0.0)
    assert is_exact(Argmax({0: constant}, {0: constant}, "largest at layer 0"))
    assert not is_exact(Argmax({0: constant}, {0: constant, 1: sample(0.1)}, "largest at layer 0"))


def test_what_is_shown_of_a_compound_statement_stands_beside_its_own_region():
    more, same = at_least(0.5, "more"), within(-0.1, 0.1, "same")
    strong, weak = Part("strong", sample(5.0)), Part("weak", sample(0.02), same)
    seen = shown(Conjunction((strong, weak)), more)
    assert (seen.label, seen.region) == ("weak", same)


def test_of_a_contradicted_statement_the_part_with_most_against_it_is_shown():
    more = at_least(0.5, "more")
    parts = tuple(Part(f"at {center}", sample(center)) for center in (0.4, -3.0, 0.3, 5.0))
    assert shown(Conjunction(parts), more).label == "at -3.0"
    assert why_contradicted(Conjunction(parts), more) == "at -3.0: opposite"


@pytest.mark.parametrize(
    ("parts", "center", "region", "tests"),
    [
        (1, 0.48, at_least(0.5, "r"), 1),
        (1, 0.12, within(-0.1, 0.1, "r"), 2),
        (3, 0.12, within(-0.1, 0.1, "r"), 6),
        (3, 0.52, at_least(0.5, "r"), 1),
    ],
)
def test_the_texts_that_would_decide_do_decide_in_four_of_five_samples_against_theory(parts, center, region, tests):
    """Evidence against a compound counts once a part, and against a margin once a side: so do the texts it takes."""
    weakest = sample(center, 0.2)
    outcome = Conjunction(tuple(Part(str(i), weakest) for i in range(parts))) if parts > 1 else weakest
    needed = int(why_inconclusive(outcome, region, 4).split()[1])
    contrast = weakest.contrast(min((region.low, region.high), key=lambda bound: abs(bound - center)))
    effect = abs(contrast.mean()) / contrast.std(ddof=1)
    assert power(effect, needed, 0.025 / 4 / tests) >= 0.8
    assert power(effect, needed - 1, 0.025 / 4 / tests) < 0.8


def spread_out(center):
    return sample(center, 1.0, 32)


def undecided(lead, *, behind=False):
    """A largest mean whose leader was chosen on the other half: each half of the texts is a test of its own."""
    rivals, challenge = ({0: spread_out(-lead)}, {0: spread_out(lead)}) if behind else ({0: spread_out(lead)}, {})
    halves = {0: [spread_out(lead)] * 2}
    return Argmax(rivals, challenge or {0: spread_out(-lead)}, "largest at layer 0", halves, halves)


def effect_of(lead):
    contrast = spread_out(lead).numerator
    return contrast.mean() / contrast.std(ddof=1)


def test_a_largest_mean_takes_the_texts_of_two_tests_by_halves_against_theory():
    needed = int(why_inconclusive(undecided(0.2), at_least(0, "r"), 4).split()[1])
    assert chance(effect_of(0.2), needed, 0.025 / 4, 2) >= 0.8 > chance(effect_of(0.2), needed - 2, 0.025 / 4, 2)
    alone = int(why_inconclusive(replace(undecided(0.2), rivals_by_half={}), at_least(0, "r"), 4).split()[1])
    assert alone < needed


def test_against_every_one_of_two_largest_means_each_counts_twice_against_theory():
    both = every({"RoPE": undecided(0.2, behind=True), "DroPE": undecided(0.5)})
    needed = int(why_inconclusive(both, at_least(0, "r"), 4).split()[1])
    assert chance(effect_of(0.2), needed, 0.025 / 8, 2) >= 0.8 > chance(effect_of(0.2), needed - 2, 0.025 / 8, 2)


def test_a_compound_statement_names_what_its_parts_count():
    undecided = Conjunction((Part("a", sample(0.51, 0.4)),), sample="texts of each kind")
    assert "texts of each kind would decide" in why_inconclusive(undecided, at_least(0.5, "r"), 1)


def test_items_are_not_called_texts():
    undecided = sample(0.51, spread=0.4)
    assert "texts" in why_inconclusive(undecided, at_least(0.5, "r"), 1)
    said = why_inconclusive(undecided, at_least(0.5, "r"), 1, sample="items")
    assert "items would decide" in said
    assert "texts" not in said
