import json
import weakref

import numpy as np
import pytest
import xarray as xr

from dropeact import bundled, corpus
from dropeact.axes import InputError
from dropeact.checkpoints.load import load, resolve
from dropeact.files import read_dataset, write_dataset
from dropeact.measurements import trajectory as trajectories
from dropeact.measurements.trajectory import check_folder, check_snapshots, continued, headline, kept, tokens_of
from dropeact.pairs import Pair
from dropeact.report.trajectory_figure import CAPTION, QUANTITIES, caption
from tests import synthetic_results as synthetic
from tests.checkpoints import tiny


def stages(*tokens, parent=3.0):
    """The RoPE parent, just dropped, and a snapshot at each token count; the loss is the token count."""
    names = ["RoPE", "just dropped", *(f"{count:,} tokens" for count in tokens)]
    nats = np.array([parent, 0.0, *tokens])[:, None, None] * np.ones((1, 2, 4))
    counts = ("stage", [np.nan, 0.0, *map(float, tokens)])
    data = xr.Dataset({"nats": (("stage", "text", "position_bin"), nats)}, coords={"stage": names})
    return data.assign_coords(tokens=counts)


def test_earlier_stages_come_before_the_first_new_one_against_hand_count():
    joined = continued(stages(100, 200, 300), stages(300, 400))
    assert joined["stage"].values.tolist()[2:] == ["100 tokens", "200 tokens", "300 tokens", "400 tokens"]
    assert joined["nats"].isel(text=0, position_bin=0).values.tolist() == [3, 0, 100, 200, 300, 400]


def test_nothing_is_kept_of_a_run_that_begins_anew():
    xr.testing.assert_identical(continued(stages(500), stages(100, 200)), stages(100, 200))


def test_a_trajectory_of_another_parent_is_refused():
    with pytest.raises(InputError, match="same RoPE parent"):
        continued(stages(100, parent=3.01), stages(200))


def test_a_run_without_snapshots_is_refused(tmp_path):
    (tmp_path / "snapshots" / "unfinished").mkdir(parents=True)  # no recipe yet
    with pytest.raises(InputError, match="use --snapshots"):
        kept(tmp_path)


def test_every_stage_begins_in_the_primary_arm_of_the_pair_against_the_tokens_that_are_observed(tmp_path, monkeypatch):
    checkpoint, seen = load(str(tiny.saved(tmp_path / "model"))), []
    pair = Pair("tiny", str(tmp_path / "model"), "drope", primary_arm="bos")
    real = trajectories.observe

    def observed(model, tokens, **options):
        seen.append(tokens)
        return real(model, tokens, **options)

    monkeypatch.setattr(trajectories, "observe", observed)
    monkeypatch.setattr(trajectories, "kept", lambda run: [])
    monkeypatch.setattr(trajectories, "stages", lambda *_: iter([("RoPE", float("nan"), checkpoint)]))
    measured = trajectories.trajectory([tmp_path], pair)
    assert (seen[0][:, 0] == checkpoint.tokenizer.bos_token_id).all()
    assert seen[0].shape == (8, 512)
    write_dataset(tmp_path / "trajectory.nc", measured)
    assert caption(read_dataset(tmp_path / "trajectory.nc")).endswith("Texts begin in the bos arm.")


def test_a_trajectory_that_is_gone_on_from_keeps_its_earlier_stages(tmp_path, monkeypatch):
    folder = tiny.saved(tmp_path / "model")
    checkpoint = load(str(folder))
    names = [("RoPE", np.nan), ("just dropped", 0.0), ("200 tokens", 200.0)]
    monkeypatch.setattr(trajectories, "kept", lambda run: [])
    monkeypatch.setattr(trajectories, "stages", lambda *_: iter([(*stage, checkpoint) for stage in names]))
    monkeypatch.setattr(trajectories, "chosen_passages", lambda: [corpus.passages()[0]])
    pair = Pair("tiny", str(folder), "drope")
    first = trajectories.trajectory([tmp_path], pair)
    assert first["stage"].values.tolist() == [name for name, _ in names]
    np.testing.assert_array_equal(first["tokens"], [tokens for _, tokens in names])
    half_way = first.isel(stage=[2]).assign_coords(stage=["100 tokens"], tokens=("stage", [100.0]))
    earlier = xr.concat([first.isel(stage=slice(2)), half_way], "stage", coords="minimal", compat="override")
    again = trajectories.trajectory([tmp_path], pair, earlier=earlier)
    assert again["stage"].values.tolist() == ["RoPE", "just dropped", "100 tokens", "200 tokens"]
    assert again.attrs["arm"] == "first"


def observed(scores):
    """One text of two layers: sink scores (layer, head) beside other lengths and conventions, 7 massive values used."""
    alone = np.full((1, 2, 4, 2, 2), 0.9)
    alone[..., 0, 0] = scores
    counts = np.full((1, 2, 3, 2, 2, 2), 1)
    counts[:, :, :, 0, 0, 1] = 7
    return xr.Dataset(
        {
            "sink_score": (("text", "layer", "head", "length", "convention"), alone),
            "massive_count": (("text", "layer", "tensor", "site", "mean_over", "threshold"), counts),
            "first_norm": (("text", "depth"), [[1.0, 2.0, 3.0]]),
            "entropy": (("text", "depth"), [[4.0, 5.0, 6.0]]),
            "nats": (("text", "position_bin"), [[3.0, 2.0]]),
        },
        coords={
            "text": ["a"],
            "half": ("text", ["A"]),
            "length": [64, 512],
            "convention": ["without_first_query", "with_first_query"],
            "site": ["attended", "projected"],
            "mean_over": ["layer", "head"],
            "threshold": [3.0, 5.0],
        },
    )


def test_headline_quantities_against_hand_count():
    shown = headline(observed([[0.29, 0.3, 0.1, 0.5], [0.1, 0.1, 0.1, 0.8]]))
    assert shown["sink_rate"].dims == ("text", "layer")
    assert shown["sink_rate"].values.tolist() == [[0.5, 0.25]]
    assert shown["massive_count"].dims == ("text", "layer", "tensor")
    assert shown["massive_count"].values.tolist() == [[[7] * 3] * 2]
    assert shown["first_norm"].values.tolist() == [[1, 2, 3]]
    assert shown["entropy"].values.tolist() == [[4, 5, 6]]
    assert shown["nats"].values.tolist() == [[3, 2]]
    assert "half" not in shown.coords


def test_a_layer_whose_scores_are_not_finite_has_no_sink_rate_against_hand_count():
    shown = headline(observed([[np.nan, np.nan, np.nan, np.nan], [0.8, 0.1, np.nan, 0.1]]))
    assert np.isnan(shown["sink_rate"]).all()
    finite = headline(observed([[np.nan, 0.8, 0.8, 0.8], [0.8, 0.1, 0.1, 0.1]]))["sink_rate"]
    np.testing.assert_array_equal(finite, [[np.nan, 0.25]])


@pytest.mark.parametrize(("broken", "left"), [("first_norm", [7.0, np.nan]), ("entropy", [7.0, np.nan])])
def test_a_layer_whose_stream_is_not_finite_has_no_massive_values_against_hand_count(broken, left):
    seen = observed([[0.1] * 4, [0.1] * 4])
    seen[broken][0, 2] = np.inf  # after the second block
    shown = headline(seen)["massive_count"]
    np.testing.assert_array_equal(shown.sel(tensor=0, text="a"), left)


def test_a_stage_with_a_layer_that_is_not_finite_is_drawn_as_a_gap():
    seen = observed([[np.nan] * 4, [0.1] * 4])
    seen["first_norm"][0, 1] = seen["entropy"][0, 1] = np.nan
    stages = headline(seen.assign_coords(tensor=["query", "key", "value"])).expand_dims(stage=["RoPE"])
    shown = {label: quantity(stages).item() for label, quantity in QUANTITIES}
    assert [label for label, value in shown.items() if np.isnan(value)] == [label for label, _ in QUANTITIES[1:]]


def test_no_two_stages_are_in_memory_at_once(tmp_path, monkeypatch):
    folders = [tiny.saved(tmp_path / name, seed=seed) for seed, name in enumerate(("parent", "one", "two"))]
    alive = weakref.WeakSet()

    def loaded(identifier, **how):
        assert not alive, "expected the stage before to be gone"
        checkpoint = load(identifier, **how)
        alive.add(checkpoint.model)
        return checkpoint

    monkeypatch.setattr(trajectories.checkpoints, "load", loaded)
    monkeypatch.setattr(trajectories, "kept", lambda run: folders[1:])
    monkeypatch.setattr(trajectories, "check_snapshots", lambda *_: None)
    monkeypatch.setattr(trajectories, "tokens_of", folders.index)
    measured = trajectories.trajectory([tmp_path], Pair("tiny", str(folders[0]), "drope"))
    assert measured["stage"].values.tolist() == ["RoPE", "just dropped", "1 tokens", "2 tokens"]


def test_a_trajectory_in_another_arm_is_not_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(trajectories, "kept", lambda run: pytest.fail("measured"))
    with pytest.raises(InputError, match="in the arm bos; got first; choose another --out"):
        trajectories.trajectory([tmp_path], Pair("tiny", "rope", "drope", primary_arm="bos"), earlier=stages(100))


def test_the_accepted_trajectory_names_no_arm_and_neither_does_its_caption():
    accepted = read_dataset(bundled.folder("results") / "smollm2-135m" / trajectories.FILE)
    assert trajectories.arm_of(accepted) == "first"
    assert caption(accepted) == CAPTION.format(8)


@pytest.mark.parametrize("text", ["{", "[]", '{"source": {"id": "x"}}', '{"tokens": 5}'])
def test_a_snapshot_with_a_damaged_recipe_is_one_line(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(InputError, match=r"expected recipe.json beside adapter.safetensors in .*; got none; copy it"):
        tokens_of(tmp_path)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A RoPE model, as a pair with itself, and the hash of its weights."""
    folder = str(tiny.saved(tmp_path_factory.mktemp("parent") / "model"))
    return Pair("tiny", folder, folder), resolve(folder)["sha256"]


def snapshot(folder, sha256, tokens):
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"source": {"id": "other", "sha256": sha256}, "tokens": tokens}))
    return folder


def test_snapshots_of_other_weights_are_refused_before_anything_is_measured(tmp_path, parent):
    pair, own = parent
    check_snapshots([snapshot(tmp_path / "a", own, 10), snapshot(tmp_path / "b", own, 20)], pair)
    with pytest.raises(InputError, match=r"the RoPE model of tiny; got one of other in .*c; name the pair"):
        check_snapshots([tmp_path / "a", snapshot(tmp_path / "c", "0" * 64, 30)], pair)


def test_a_run_that_is_named_twice_is_refused(tmp_path, parent):
    pair, own = parent
    run = snapshot(tmp_path / "run" / "snapshots" / "one", own, 10).parents[1]
    with pytest.raises(InputError, match=r"one snapshot at each number of tokens; got .*one and .*one"):
        trajectories.trajectory([run, run], pair)


def test_a_folder_of_another_rope_model_is_refused(tmp_path):
    folder = synthetic.results(tmp_path)
    check_folder(folder, synthetic.PAIR)
    check_folder(tmp_path / "new", Pair("tiny", "else", "drope"))
    with pytest.raises(InputError, match="expected results of else; got those of rope in"):
        check_folder(folder, Pair("tiny", "else", "drope"))
