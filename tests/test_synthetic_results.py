"""What claims are tested on has nothing that a measurement lacks: a claim that reads more would fail there alone."""

import numpy as np
import pytest

from dropeact import bundled
from dropeact.store import Store
from tests import synthetic_results as synthetic

ACCEPTED = Store(bundled.folder("results") / "smollm2-135m")
ONLY_PUBLISHED = {"published_disruption"}  # compared in tests/measurements/test_published_disruption.py


@pytest.mark.parametrize("name", sorted(set(synthetic.MADE) - ONLY_PUBLISHED))
def test_planted_cells_have_the_variables_and_dimensions_of_measured_ones_against_the_accepted_results(name):
    ids = synthetic.text_ids("passages", "A", 16)
    planted = synthetic.MADE[name](np.random.default_rng(0), ids, "A", {})
    measured = ACCEPTED.load("rope", "passages", "first", name)
    assert set(planted.variables) <= set(measured.variables)
    for variable in planted.data_vars:
        assert set(planted[variable].dims) == set(measured[variable].dims), variable
