"""The table of controls, on planted losses and doses."""

import numpy as np
import pytest
import xarray as xr

from dropeact.axes import COLUMNS, HALVES
from dropeact.measured import of_run
from dropeact.report.controls import controls
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR, results

DOSE = {"dose": 3, "norm_matched_count": 20}


@pytest.fixture
def store(tmp_path):
    folder = results(
        tmp_path, plant={"drope": {"massive": 0.5}}, cells=("observations", "disruption"), corpora=("passages",)
    )
    store = Store(folder)
    for column in COLUMNS:
        data = store.load(column, "passages", PAIR.primary_arm, "disruption").drop_dims("selected_on")
        for half in HALVES:
            counts = {
                name: (("selected_on", "layer", "tensor"), np.full((1, 6, 2), count)) for name, count in DOSE.items()
            }
            labels = {"selected_on": [half], "layer": range(6), "tensor": ["query", "key"]}
            mine = data.isel(text=data["half"].values == half).merge(xr.Dataset(counts, labels))
            store.save(Cell(column, "passages", PAIR.primary_arm, half, "disruption"), mine, {})
    return store


def test_costs_and_channels_against_what_was_planted(store):
    table = controls(of_run(store, store.read_run()))
    assert list(table) == [
        "massive: the largest",
        "random others (mean of the draws)",
        "random others with as much squared norm",
    ]
    massive = {cost.model: cost for cost in table["massive: the largest"]}
    assert massive["RoPE"].increase == pytest.approx(1.5, abs=0.01)
    assert massive["DroPE"].increase == pytest.approx(0.5, abs=0.01)
    assert {cost.channels for cost in massive.values()} == {6 * 2 * 3}
    assert {cost.channels for cost in table["random others with as much squared norm"]} == {6 * 2 * 20}
    assert all(cost.half_width < 0.01 for cost in massive.values())
