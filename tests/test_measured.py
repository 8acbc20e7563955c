"""One pair as a claim sees it, on numbers that are written out: the write layer, means around it, noise floors."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from dropeact.axes import COLUMNS, NotApplicable
from dropeact.measured import Measured, MissingMeasurement, natural, of_run, replication, write_layer
from dropeact.protocol import Protocol
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR, run_record

HALVES = ["A", "B", "A", "B"]  # of texts that take turns
NORMS = [  # by depth: of A the largest step is that of layer 1, of B that of layer 2
    [1, 2, 90, 91, 92],
    [1, 2, 3, 80, 81],
    [1, 3, 70, 71, 72],
    [1, 3, 4, 60, 61],
]


def first_norms(rows):
    shape = (("text", "depth"), np.array(rows, float))
    coords = {"text": list("abcd")[: len(rows)], "half": ("text", HALVES[: len(rows)])}
    return xr.DataArray(shape[1], dims=shape[0], coords=coords | {"depth": range(len(rows[0]))})


@pytest.fixture
def measured(tmp_path) -> Measured:
    view = natural(Store(tmp_path), PAIR)
    view.rope.__dict__["observations"] = xr.Dataset({"first_norm": first_norms(NORMS)})
    return view


@pytest.mark.parametrize(
    ("norms", "layer"),
    [
        ([0, 1, 9, 10, 11], 1),
        ([0, 1, 2, 9, 10], 2),  # layer 2 of 4 is the last that may write
        ([0, 1, 3, 4, 99], 1),  # layer 3 is beyond the middle
        ([0, 1, 2, 9, 10, 11], 2),
        ([0, 1, 3, 4, 99, 99], 1),  # and of 5 layers, too
        ([50, 1, 2, 9, 9], 2),  # a fall is no writing
        ([5, 8, 8, 8, 8], 0),
    ],
)
def test_the_write_layer_is_the_largest_step_of_the_first_half_of_the_layers_against_hand_count(norms, layer):
    assert write_layer(first_norms([norms])) == layer


def test_the_largest_step_is_that_of_the_mean_over_texts():
    assert write_layer(first_norms([[0, 10, 10, 10], [0, 0, 9, 9], [0, 0, 9, 9]])) == 1  # 10 / 3 against 6


def test_the_write_layer_of_one_half_is_chosen_on_the_other_against_hand_count(measured):
    assert measured.write_layers == {"A": 2, "B": 1}
    literal = Measured(measured.store, replace(PAIR, write_layer=3), Protocol())
    assert literal.write_layers == {"A": 3, "B": 3}


@pytest.mark.parametrize("rows", [NORMS[:1], [*NORMS[:3], [1, 3, np.nan, 60, 61]]], ids=["one half", "not finite"])
def test_without_a_finite_norm_in_both_halves_there_is_no_write_layer(measured, rows):
    measured.rope.__dict__["observations"] = xr.Dataset({"first_norm": first_norms(rows)})
    with pytest.raises(MissingMeasurement, match="a finite number for every text of both halves"):
        _ = measured.write_layers


def by_layer(rows):
    coords = {"text": list("abcd"), "half": ("text", HALVES), "layer": range(4)}
    return xr.DataArray(np.array(rows, float), dims=("text", "layer"), coords=coords)


def test_means_around_the_write_layer_are_those_of_each_texts_own_half_against_hand_count(measured):
    values = by_layer([[1, 2, 4, 8], [10, 20, 40, 80], [3, 5, 7, 9], [30, 50, 70, 90]])
    expected = {  # of a and c the write layer is 2, of b and d 1
        measured.at_write: [4, 20, 7, 50],
        measured.before_write: [1.5, 10, 4, 30],
        measured.up_to_write: [7 / 3, 15, 5, 40],
        measured.after_write: [8, 60, 9, 80],
    }
    for mean, numbers in expected.items():
        found = mean(values)
        assert found.dims == ("text",)
        assert found["half"].values.tolist() == HALVES
        np.testing.assert_allclose(found, numbers)
    np.testing.assert_allclose(measured.up_to_write(values.transpose("layer", "text")), [7 / 3, 15, 5, 40])


def test_a_layer_that_is_not_a_number_leaves_no_mean_and_is_not_left_out(measured):
    values = by_layer([[np.nan, 2, 4, 8], [10, 20, 40, 80], [3, 5, 7, 9], [30, 50, 70, np.nan]])
    assert np.isnan(measured.before_write(values)).values.tolist() == [True, False, False, False]
    assert np.isnan(measured.after_write(values)).values.tolist() == [False, False, False, True]


@pytest.mark.parametrize("layers", [{"A": 0, "B": 1}, {"A": 1, "B": 0}])
def test_before_the_first_layer_lies_none_in_either_half(measured, layers):
    measured.__dict__["write_layers"] = layers
    with pytest.raises(NotApplicable, match="none lies before it"):
        measured.before_write(by_layer(np.ones((4, 4))))
    np.testing.assert_allclose(measured.at_write(by_layer(np.ones((4, 4)))), 1)


def test_a_text_of_a_third_half_is_refused(measured):
    values = by_layer(np.ones((4, 4))).assign_coords(half=("text", ["A", "B", "C", "B"]))
    with pytest.raises(KeyError, match="expected texts of the halves A, B; got A, B, C"):
        measured.at_write(values)


def test_what_was_read_is_shared_with_a_view_of_the_same_texts_alone(measured):
    assert measured.write_layers == {"A": 2, "B": 1}
    for model in measured.columns:
        model.__dict__["disruption"] = xr.Dataset(attrs={"of": model.name})
    same = measured.under(Protocol(site="projected", massive_threshold=7.0))
    assert same.rope.observations is measured.rope.observations
    assert [model.disruption.attrs["of"] for model in same.columns] == ["rope", "dropped", "drope"]
    assert (same.protocol.site, same.drope.protocol.massive_threshold) == ("projected", 7.0)
    for other in (Protocol(corpus="repeated"), Protocol(arm="bos")):
        view = measured.under(other)
        assert view.write_layers == {"A": 2, "B": 1}  # w is declared on the primary arm
        assert "observations" not in view.rope.__dict__
    assert "write_layers" not in natural(measured.store, PAIR).under(Protocol(arm="bos")).__dict__


def test_the_views_of_a_run_are_of_its_own_arm_against_their_protocols(tmp_path):
    store, bos = Store(tmp_path), replace(PAIR, primary_arm="bos")
    assert natural(store, bos).protocol == Protocol("passages", "bos", "attended")
    assert natural(store, bos, arm="separator").protocol.arm == "separator"
    assert replication(store, bos).protocol == Protocol("repeated", "bos", "projected")
    assert replication(store, bos, arm="first").protocol.arm == "first"
    view = of_run(store, run_record(PAIR, 32) | {"arm": "separator"})
    assert (view.pair.name, view.protocol) == (PAIR.name, Protocol("passages", "separator"))
    for model, name in zip((view.rope, view.dropped, view.drope), ("rope", "dropped", "drope"), strict=True):
        assert (model.name, model.protocol) == (name, view.protocol)
    assert view.columns == [view.rope, view.dropped, view.drope]
    assert view.models == {"RoPE": view.rope, "DroPE": view.drope}


def stored(store, column, measurement, dataset):
    store.save(Cell(column, "passages", "first", "A", measurement), dataset, {})


def test_the_models_that_have_a_measurement_are_those_that_it_is_stored_of(tmp_path):
    store = Store(tmp_path)
    for column in ("drope", "rope"):
        stored(store, column, "atlas", xr.Dataset({"nats": 1.0 if column == "rope" else 2.0}))
    found = [(model.name, float(data["nats"])) for model, data in natural(store, PAIR).having("atlas")]
    assert found == [("rope", 1.0), ("drope", 2.0)]


def floors(**values):
    kinds = {"comparison": ["repeat", "batch", "precision"]}
    return xr.Dataset({f"absolute_{name}": ("comparison", v) for name, v in values.items()}, coords=kinds)


@pytest.mark.parametrize(("dtype", "entropy"), [("float32", 0.2), ("bfloat16", 0.9)])
def test_the_noise_floor_is_the_largest_change_and_precision_counts_where_it_was_not_float32(tmp_path, dtype, entropy):
    store = Store(tmp_path)
    store.write_run(run_record(PAIR, 32) | {"dtype": dtype})
    stored(store, "rope", "noise-floor", floors(entropy=[0.1, 0.2, 0.9], nats=[0.5, 0.0, 0.0]))
    stored(store, "rope", "noise-phenomena", floors(write_share=[0.0, 0.3, 0.0], nats=[7.0, 7.0, 7.0]))
    view = natural(store, PAIR)
    assert [view.floor(name) for name in ("entropy", "write_share", "sink_score")] == [entropy, 0.3, 0.0]
    assert view.floor("nats") == 0.5  # of both the one of the observations
    assert replication(store, PAIR).floor("entropy") == entropy  # measured on the passages, whatever is asked of
    assert natural(Store(tmp_path / "none"), PAIR).noise == {}


def test_the_tokens_of_recalibration_are_those_that_the_checkpoint_names(tmp_path):
    store = Store(tmp_path)
    view = natural(store, PAIR)
    assert view.recalibration_tokens is None  # no run.json
    run = run_record(PAIR, 32)
    store.write_run(run)
    assert view.recalibration_tokens is None
    adapted = {column: {"id": column, "adapter": {"tokens": n}} for n, column in enumerate(COLUMNS, 4_000_000)}
    store.write_run(run | {"checkpoints": adapted})
    assert view.recalibration_tokens == 4_000_002
