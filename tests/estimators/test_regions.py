"""Regions against the wordings of the design, and those that cannot be meant, each refused with its reason."""

from math import inf

import pytest

from dropeact.estimators import regions
from dropeact.estimators.regions import Region, at_least, at_most, within

BY_WORDING = {  # design.md, "Regions": scale, low, high and the value that means no difference
    regions.more_by_ratio: ("ratio", 1.05, inf, 1),
    regions.fewer_by_ratio: ("ratio", -inf, 0.95, 1),
    regions.far_more_by_ratio: ("ratio", 2, inf, 1),
    regions.more_nats: ("difference", 0.02, inf, 0),
    regions.far_more_nats: ("difference", 0.5, inf, 0),
    regions.destroys: ("difference", 1, inf, 0),
    regions.higher_rate: ("difference", 0.05, inf, 0),
    regions.lower_rate: ("difference", -inf, -0.05, 0),
    regions.most: ("rate", 0.5, inf, 0),
    regions.equivalent_count: ("ratio", 0.9, 1.1, 1),
    regions.equivalent_rate: ("difference", -0.1, 0.1, 0),
    regions.equivalent_share: ("difference", -0.05, 0.05, 0),
    regions.equivalent_nats: ("difference", -0.05, 0.05, 0),
    regions.similar_factor: ("ratio", 0.8, 1.25, 1),
}


@pytest.mark.parametrize("wording", BY_WORDING, ids=lambda wording: wording.__name__)
def test_every_wording_has_the_region_of_the_design_against_its_numbers(wording):
    region = wording()
    assert (region.scale, region.low, region.high, region.null) == BY_WORDING[wording]
    assert region.is_margin == (-inf not in (region.low, -region.high))


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (at_least(0.125, "r"), "difference >= 0.125"),
        (at_most(-0.5, "r", scale="rate"), "rate <= -0.5"),
        (within(0.8, 1.25, "r", scale="ratio"), "ratio in [0.8, 1.25]"),
    ],
)
def test_a_region_in_words_against_mathematics(region, words):
    assert str(region) == words


def test_what_means_no_difference_may_be_declared_also_as_zero():
    assert at_least(2.0, "r", scale="ratio").null == 1.0
    assert at_least(2.0, "r", scale="ratio", null=0.0).null == 0.0
    assert at_most(0.5, "r", null=0.25).null == 0.25


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        (("percent", 0.0, 1.0, "r"), "expected a scale of difference, ratio, rate; got 'percent'; give one of them"),
        (("rate", 1.0, 0.5, "r"), "expected low < high; got 1.0..0.5; give a region that is not empty"),
        (("rate", 0.5, 0.5, "r"), "expected low < high; got 0.5..0.5; give a region that is not empty"),
        (("rate", float("nan"), 0.5, "r"), "expected low < high; got nan..0.5; give a region that is not empty"),
        (("rate", 0.5, 1.0, ""), "expected a rationale for the region; got none; say why these bounds"),
    ],
)
def test_a_region_that_cannot_be_meant_is_refused_with_its_reason(declared, line):
    with pytest.raises(ValueError, match="expected") as refused:
        Region(*declared)
    assert str(refused.value) == line
