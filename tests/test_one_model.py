"""One model as a claim sees it, on stored numbers that are written out: what is counted, averaged and refused."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from dropeact.axes import Untestable
from dropeact.one_model import MissingMeasurement, Model
from dropeact.protocol import Protocol
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR, run_record

PUBLISHED = Protocol("repeated", "first", "projected")


def model(directory, protocol=None, **read) -> Model:
    """A model of which these measurements are read already."""
    made = Model("rope", protocol or Protocol(), Store(directory))
    made.__dict__.update(read)
    return made


def stored(store, measurement, *, halves="AB", arm="first", corpus="passages", **depends):
    for half in halves:
        data = xr.Dataset({"nats": ("text", [1.0])}, coords={"text": [half], "half": ("text", [half])})
        store.save(Cell("rope", corpus, arm, half, measurement, depends), data, {})


def observations(first_norm=None, entropy=None):
    """Two texts, two layers: a count of its own at each site, mean and threshold of the Query."""
    counts = np.arange(2 * 2 * 2 * 2 * 2 * 2).reshape(2, 2, 2, 2, 2, 2)
    finite = np.ones((2, 3))
    return xr.Dataset(
        {
            "massive_count": (("text", "layer", "tensor", "site", "mean_over", "threshold"), counts),
            "first_norm": (("text", "depth"), finite if first_norm is None else first_norm),
            "entropy": (("text", "depth"), finite if entropy is None else entropy),
        },
        coords={
            "text": ["a", "b"],
            "layer": range(2),
            "depth": range(3),
            "tensor": ["query", "key"],
            "site": ["attended", "projected"],
            "mean_over": ["layer", "head"],
            "threshold": [5.0, 7.0],
        },
    )


@pytest.mark.parametrize(
    ("tensor", "protocol", "place"),
    [
        ("query", Protocol(), (0, 0, 0, 0)),
        ("key", Protocol(), (1, 0, 0, 0)),
        ("query", Protocol(site="projected"), (0, 1, 0, 0)),
        ("query", Protocol(mean_over="head"), (0, 0, 1, 0)),
        ("key", Protocol(massive_threshold=7.0), (1, 0, 0, 1)),
    ],
)
def test_massive_values_are_counted_as_the_protocol_says_against_hand_count(tmp_path, tensor, protocol, place):
    found = model(tmp_path, protocol, observations=observations()).counts(tensor)
    assert found.dims == ("text", "layer")
    offset = int(np.dot(place, (8, 4, 2, 1)))
    assert found.values.tolist() == [[offset, 16 + offset], [32 + offset, 48 + offset]]


@pytest.mark.parametrize("name", ["first_norm", "entropy"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_stream_that_is_not_finite_after_a_block_leaves_that_block_without_counts(tmp_path, name, value):
    values = np.ones((2, 3))
    values[0, 0] = values[1, 2] = value  # before the first block; after block 1
    made = model(tmp_path, observations=observations(**{name: values}))
    assert made.finite.values.tolist() == [[True, True], [True, False]]
    assert np.isnan(made.counts("query").to_numpy()).tolist() == [[False, False], [False, True]]


def test_the_slower_half_of_the_rotary_pairs_is_the_later_one_against_hand_count(tmp_path):
    """Pair 0 turns fastest. At another threshold than 5 both halves are stored as sums."""
    pairs = np.array([[1, 2, 4, 8], [16, 32, 64, 128]]) * np.ones((2, 1, 1), int)
    dims, held = ("text", "layer", "threshold"), {"slow": 3, "fast": 5}
    sums = {f"rotary_{half}_count": (dims, np.full((2, 2, 1), count)) for half, count in held.items()}
    seen = xr.Dataset(
        {"rotary_count": (("text", "layer", "pair"), pairs)} | sums, coords={"threshold": [7.0], "layer": range(2)}
    )
    broken = np.ones((2, 3))
    broken[1, 1] = np.nan
    read = {"phenomena": seen.assign_coords(text=["a", "b"]), "observations": observations(broken)}
    slow, fast = model(tmp_path, **read).rotary_counts()
    np.testing.assert_array_equal(slow, [[12, 192], [np.nan, 192]])
    np.testing.assert_array_equal(fast, [[3, 48], [np.nan, 48]])
    slow, fast = model(tmp_path, Protocol(massive_threshold=7.0), **read).rotary_counts()
    np.testing.assert_array_equal(slow, [[3, 3], [np.nan, 3]])
    np.testing.assert_array_equal(fast, [[5, 5], [np.nan, 5]])
    with pytest.raises(MissingMeasurement, match="of the threshold 4"):
        model(tmp_path, Protocol(massive_threshold=4.0), **read).rotary_counts()
    older = {"phenomena": seen[["rotary_count"]], "observations": observations()}
    with pytest.raises(MissingMeasurement, match="of massive values by rotary pair at the threshold 7"):
        model(tmp_path, Protocol(massive_threshold=7.0), **older).rotary_counts()


def scores(values):
    """Sink scores (text, layer, head) of the first 64 tokens without query 0, beside others that are all sinks."""
    held = np.ones((1, 2, 4, 2, 2))
    held[..., 0, 0] = values
    coords = {"length": [64, 512], "convention": ["without_first_query", "with_first_query"]}
    return xr.Dataset({"sink_score": (("text", "layer", "head", "length", "convention"), held)}, coords=coords)


def test_a_head_is_a_sink_from_tau_on_and_one_without_a_score_leaves_no_rate_against_hand_count(tmp_path):
    seen = scores([[0.3, 0.29, 0.31, 0.0], [0.9, 0.9, np.nan, 0.9]])
    view, above = (model(tmp_path, Protocol(sink_threshold=tau), observations=seen) for tau in (0.3, 0.305))
    assert view.sink_rate().dims == ("text", "layer")
    np.testing.assert_array_equal(view.sink_rate(), [[0.5, np.nan]])
    np.testing.assert_array_equal(above.sink_rate(), [[0.25, np.nan]])
    assert (model(tmp_path, Protocol(sink_length=512), observations=seen).sink_rate() == 1).all()
    assert (view.sink_scores(length=512) == 1).all()
    assert (view.sink_scores(convention="with_first_query") == 1).all()
    assert view.sink_scores()[0, 0].values.tolist() == [0.3, 0.29, 0.31, 0.0]


def losses(**conditions):
    values = np.array(list(conditions.values()), float)
    names = [name.replace("_", "-") for name in conditions]
    dose = (("selected_on", "layer", "tensor"), np.ones((2, 1, 1)))
    return xr.Dataset({"nats": (("condition", "text"), values[:, None]), "dose": dose}, coords={"condition": names})


def test_random_controls_are_averaged_and_others_are_read_by_name_against_hand_count(tmp_path):
    natural = losses(baseline=3, massive=5, random_0=3.5, random_1=4.5, norm_matched=9)
    published, own = losses(baseline=30, massive=50, random_0=40), losses(top1_mean=7, random_mean=8)
    read = {"disruption": natural, "published_disruption": published}
    view = model(tmp_path, **read)
    assert [float(view.nats(name)[0]) for name in ("baseline", "massive", "random", "random-1")] == [3, 5, 4, 4.5]
    as_published = model(tmp_path, PUBLISHED, **read)
    assert [float(as_published.nats(name)[0]) for name in ("baseline", "massive", "random")] == [30, 50, 40]
    with pytest.raises(MissingMeasurement):
        view.nats("top1-mean")
    for half in "AB":
        texts = own.assign_coords(text=[half], half=("text", [half])).drop_vars("dose")
        view.store.save(Cell("rope", "passages", "first", half, "ablation"), texts, {})
    assert view.nats("top1-mean").values.tolist() == [7, 7]
    natural["nats"][3] = np.nan
    assert np.isnan(view.nats("random")).all()


def test_at_another_threshold_what_has_a_dose_is_read_there_and_the_rest_where_it_was(tmp_path):
    at_seven = losses(massive=6, random=2).expand_dims(threshold=[7.0])
    read = {"disruption": losses(baseline=3, massive=5, random_0=4), "disruption_by_threshold": at_seven}
    view = model(tmp_path, Protocol(massive_threshold=7.0), **read)
    assert [float(view.nats(name)[0]) for name in ("baseline", "massive")] == [3, 6]
    assert float(view.nats("random")[0]) == 2
    with pytest.raises(MissingMeasurement, match="of the condition smallest"):
        view.nats("smallest")
    with pytest.raises(MissingMeasurement, match="of the threshold 6"):
        model(tmp_path, Protocol(massive_threshold=6.0), **read).nats("massive")


def test_a_dose_of_none_on_one_half_is_refused_where_it_is_asked_for(tmp_path):
    def dosed(*by_half):
        made = losses(baseline=3)
        made["dose"] = (("selected_on", "layer", "tensor"), np.array(by_half)[:, :, None])
        return made

    some, none = dosed([0, 1], [2, 0]), dosed([0, 0], [2, 0])
    model(tmp_path, disruption=some).require_dose()
    with pytest.raises(Untestable, match="none was zeroed"):
        model(tmp_path, disruption=none).require_dose()
    model(tmp_path, PUBLISHED, disruption=none, published_disruption=some).require_dose()
    with pytest.raises(Untestable, match="none was zeroed"):
        model(tmp_path, PUBLISHED, disruption=some, published_disruption=none).require_dose()
    above = {"disruption": some, "disruption_by_threshold": none.expand_dims(threshold=[7.0])}
    with pytest.raises(Untestable, match="none was zeroed"):
        model(tmp_path, **above).require_dose(7.0)
    with pytest.raises(MissingMeasurement, match="of the threshold 10"):
        model(tmp_path, **above).require_dose(10.0)


def test_the_register_of_a_text_is_what_the_run_names_or_stands_before_the_dash(tmp_path):
    view = model(tmp_path)
    texts = xr.DataArray([1.0, 2.0, 3.0], dims="text", coords={"text": ["factual-01", "x-y-2", "mine"]})
    assert view.registers(texts) == ["factual", "x-y", ""]
    view.store.write_run(run_record(PAIR, 32) | {"registers": {"mine": "own", "x-y-2": "two"}})
    assert view.registers(texts) == ["factual", "two", "own"]


def test_the_loss_without_a_part_is_beside_the_undisturbed_one_against_hand_count(tmp_path):
    view = model(tmp_path)
    for half, base in (("A", 3.0), ("B", 4.0)):
        atlas = xr.Dataset(
            {
                "nats": (("text", "layer", "condition"), [[[5.0, 3.5], [6.0, 4.0]]]),
                "undisturbed": ("text", [base]),
            },
            coords={"text": [half], "half": ("text", [half]), "layer": range(2), "condition": ["mlp", "first"]},
        )
        view.store.save(Cell("rope", "passages", "first", half, "atlas"), atlas, {})
    assert view.loss_without("mlp").values.tolist() == [[2, 3], [1, 2]]
    with pytest.raises(MissingMeasurement, match="of the condition attention"):
        view.loss_without("attention")


def test_what_is_stored_of_other_weights_or_of_one_half_is_no_measurement(tmp_path):
    store = Store(tmp_path)
    run = run_record(PAIR, 32)
    store.write_run(run)
    own = run["checkpoints"]["rope"]
    stored(store, "same", checkpoint=own)
    stored(store, "other", checkpoint=own | {"sha256": "1" * 64})
    stored(store, "unnamed")
    stored(store, "half", halves="B", checkpoint=own)
    view = model(tmp_path)
    assert view.measurement("same")["nats"].sizes == view.measurement("unnamed")["nats"].sizes == {"text": 2}
    for name, line in (
        ("other", "rope/other: what is stored is of other weights; measure it again"),
        ("half", "rope/half of one half of the texts"),
        ("none", "rope/passages-first/none"),
    ):
        with pytest.raises(MissingMeasurement, match=f"^{line}$"):
            view.measurement(name)


def test_a_measurement_is_of_the_protocols_texts_and_a_harness_begins_them_in_its_own_way(tmp_path):
    store = Store(tmp_path)
    stored(store, "seen", arm="bos", corpus="repeated")
    stored(store, "seen", arm="bos")
    stored(store, "tasks", arm="own", corpus="harness")
    view = model(tmp_path, Protocol("repeated", "bos"))
    assert view.measurement("seen").equals(view.measurement("seen", corpus="passages"))
    assert view.measurement("tasks", corpus="harness").sizes == {"text": 2}
    with pytest.raises(MissingMeasurement, match="rope/repeated-first/seen"):
        replace(view, protocol=Protocol("repeated", "first")).measurement("seen")
