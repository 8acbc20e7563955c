"""What an ablation of the first token did, on three texts whose numbers are written out."""

import numpy as np
import pytest
import xarray as xr

from dropeact.estimators import removal
from dropeact.measured import Measured, natural
from dropeact.store import Store
from tests.synthetic_results import PAIR

WRITTEN = {"A": 1, "B": 2}
RATIOS = [[99, 99, 8, 2, 1], [99, 99, 4, 6, 1], [99, 99, 99, 3, 5]]  # of texts 1 and 2 (half A) and 3 (B), by depth
SINKS = [[1, 1, 0.5, 0.25], [1, 1, 0.5, 0.75], [1, 1, 1, 0.5]]  # by layer
ENTROPIES = [[0, 0, 1, 2, 3], [0, 0, 5, 4, 6], [0, 0, 0, 2, 7]]  # by depth


@pytest.fixture
def measured(tmp_path) -> Measured:
    view = natural(Store(tmp_path), PAIR)
    others = 2.0
    view.rope.__dict__["effects"] = xr.Dataset(
        {
            "first_norm": (("text", "condition", "depth"), others * np.array(RATIOS, float)[:, None]),
            "other_norm_median": (("text", "condition", "depth"), np.full((3, 1, 5), others)),
            "sink_rate": (("text", "condition", "layer"), np.array(SINKS)[:, None]),
            "entropy": (("text", "condition", "depth"), np.array(ENTROPIES, float)[:, None]),
        },
        coords={
            "text": ["1", "2", "3"],
            "half": ("text", ["A", "A", "B"]),
            "condition": ["first"],
            "depth": range(5),
            "layer": range(4),
        },
    )
    view.__dict__["write_layers"] = WRITTEN
    return view


def test_checks_are_of_what_lies_after_the_write_layer_of_each_half_against_hand_count(measured):
    found = removal.checks(measured, measured.rope).sel(condition="first").transpose("half")
    assert found["half"].values.tolist() == ["A", "B"]
    assert found["first_ratio"].values.tolist() == [(8 + 4) / 2, 3]  # after blocks 1 and 2
    assert found["largest_ratio"].values.tolist() == [6, 5]  # of A the means are 6, 4, 1: the largest comes first
    assert found["sink_rate"].values.tolist() == [(0.5 + 0.25 + 0.5 + 0.75) / 4, 0.5]  # layers 2 and 3; layer 3


def test_sinks_and_valley_are_of_what_lies_after_the_write_layer_against_hand_count(measured):
    sinks = removal.sinks_above(measured, measured.rope, "first")
    valley = removal.valley(measured, measured.rope, "first")
    assert sinks.values.tolist() == [0.375, 0.625, 0.5]
    assert valley.values.tolist() == [1, 4, 2]


def test_an_ablated_norm_that_is_not_finite_leaves_no_check_against_hand_count(measured):
    measured.rope.effects["first_norm"][0, 0, 2] = np.nan
    found = removal.checks(measured, measured.rope).sel(condition="first", half="A")
    assert np.isnan(found["first_ratio"])
    assert np.isnan(found["largest_ratio"])
    assert found["sink_rate"] == 0.5
