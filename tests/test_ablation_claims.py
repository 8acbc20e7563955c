"""Claims about what is left out, judged on planted losses: what is planted is what comes out."""

from pathlib import Path

import numpy as np
import pytest

from dropeact.axes import Column
from dropeact.measured import MissingMeasurement, natural, of_run
from dropeact.measurements import ablation, disruption_by_threshold
from dropeact.measurements.atlas import ABLATIONS
from dropeact.pairs import Pair
from dropeact.report.ablation_figures import DRAWINGS
from dropeact.report.drawing import draw_stored
from dropeact.store import Store
from dropeact.verdicts.engine import judge
from dropeact.verdicts.registry import load_claims
from tests import synthetic_results as synthetic

CELLS = ("observations", "disruption", "ablation", "effects", "atlas")
CLAIMS = {
    "bos-mlp-ablation-rope",
    "bos-mlp-ablation-drope",
    "bos-v-ablation-similar",
    "layer1-mlp-rope-critical",
    "layer1-drope-balanced",
    "layer1-bos-only",
    "queipo-ablation-removes-both",
}
Plant = dict[Column, dict[str, float]]
PUBLISHED: Plant = {"drope": {"first-mlp": 0.0, "attention-layer": 3.0}}
OPPOSITE: Plant = {
    "rope": {"first-mlp": 0.1, "mlp-layer": 0.5, "attention-layer": 2.0, "first-values": 0.3}
    | {"sinks": 0.7, "valley": 0.21},
    "drope": {"first-mlp": 1.4, "first-layer": 0.5, "attention-layer": 0.5},
}
KEPT: Plant = {"rope": {"left": 900.0}, "drope": {"left": 900.0}}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablated")
    return synthetic.results(folder, plant=PUBLISHED, cells=(*CELLS, "decoded"), corpora=("passages",))


def judged(folder: Path) -> dict[str, str]:
    """The verdict of every record of the ablation set."""
    chosen = {name: claim for name, claim in load_claims().items() if claim.set == "ablation"}
    return {record.key: record.verdict for record in judge(folder, claims=chosen)}


def verdicts(folder: Path, plant: Plant, pair: Pair = synthetic.PAIR) -> dict[str, str]:
    """The verdict of every record of the ablation set, from planted results."""
    synthetic.results(folder, pair=pair, plant=plant, cells=CELLS, corpora=("passages",))
    return judged(folder)


def test_every_claim_of_the_set_is_supported_where_it_is_planted(planted):
    found = judged(planted)
    assert {key.partition("[")[0] for key in found} == CLAIMS
    assert set(found.values()) == {"supported"}, found


def test_every_claim_of_the_set_is_contradicted_where_the_opposite_is_planted(tmp_path):
    assert set(verdicts(tmp_path, OPPOSITE).values()) == {"contradicted"}


def test_nothing_follows_from_an_ablation_that_left_the_norm_where_it_was(tmp_path):
    found = {key.partition("[")[0]: verdict for key, verdict in verdicts(tmp_path, KEPT).items()}
    needing = {"bos-mlp-ablation-rope", "bos-mlp-ablation-drope", "layer1-bos-only", "queipo-ablation-removes-both"}
    assert {name for name, verdict in found.items() if verdict == "untestable"} == needing


def test_no_figure_is_replicated_by_an_ablation_that_left_the_norm_where_it_was(tmp_path):
    pair = Pair(name="p", rope="r", drope="d", published=True, write_layer=2)
    found = verdicts(tmp_path, KEPT, pair)
    for id in ("bos-mlp-ablation-rope", "layer1-bos-only"):
        assert found[f"{id}[magnitude]"] == "untestable", id


def test_nothing_follows_from_an_ablation_where_there_was_no_norm(tmp_path):
    """The study's own defect: at a layer where the model has no norm nothing is lost, and its loss stays as it was."""
    found = verdicts(tmp_path, {"drope": {"there": 10.0, "left": 10.0, "first-mlp": 0.0}})
    assert found["bos-mlp-ablation-drope[equivalence]"] == "untestable"
    assert found["layer1-bos-only[direction]"] == "untestable"


def test_sinks_that_stay_contradict_what_they_should_have_gone_with(tmp_path):
    found = verdicts(tmp_path, {"rope": {"sinks": 0.8}})
    assert found["queipo-ablation-removes-both[direction]"] == "contradicted"
    assert found["bos-mlp-ablation-rope[direction]"] == "untestable"


def test_published_figures_planted_on_the_published_pair_are_replicated(tmp_path):
    pair = Pair(name="p", rope="r", drope="d", published=True, write_layer=2)
    rope = {"first-mlp": 7.13, "first-values": 1.416, "mlp-layer": 7.50, "attention-layer": 0.92, "first-layer": 7.25}
    drope = {"first-mlp": 0.0, "first-values": 1.221, "mlp-layer": 5.31, "attention-layer": 5.30, "first-layer": 5.14}
    found = verdicts(tmp_path, {"rope": rope, "drope": drope}, pair)
    magnitudes = {key: verdict for key, verdict in found.items() if key.endswith("[magnitude]")}
    assert len(magnitudes) == len(CLAIMS) - 1  # no figure is published of sinks and valley together
    assert set(magnitudes.values()) == {"supported"}, magnitudes
    other = verdicts(tmp_path / "other", {}, pair)
    assert "supported" not in {other[key] for key in magnitudes}


def test_losses_and_atlas_without_a_condition_are_missing_by_name(planted):
    view = natural(Store(planted), synthetic.PAIR)
    with pytest.raises(MissingMeasurement, match="of the condition typo"):
        view.rope.nats("typo")
    with pytest.raises(MissingMeasurement, match="of the condition norm"):
        view.rope.loss_without("norm")
    np.testing.assert_allclose(view.rope.loss_without("mlp").sel(layer=synthetic.WRITE).mean(), 3.0, atol=0.05)


def test_planted_conditions_are_those_that_are_measured():
    assert synthetic.ABLATED == ablation.LOSSES
    assert synthetic.DISRUPTED == disruption_by_threshold.THRESHOLDS
    assert synthetic.CONDITIONS[1:3] == disruption_by_threshold.CONDITIONS
    assert synthetic.EFFECTS == ablation.EFFECTS
    assert synthetic.DECODED == ablation.DECODED
    assert tuple(ABLATIONS) == synthetic.ATLAS


def test_every_figure_is_drawn_from_planted_losses_and_none_without_them(planted, tmp_path):
    store, run = Store(planted), synthetic.run_record(synthetic.PAIR, 32)
    figures = draw_stored(DRAWINGS, of_run(store, run), tmp_path / "figures")
    names = ["ablation-atlas", "first-token-curve", "ablation-bars", "cached-ablation"]
    assert [figure.path.stem for figure in figures] == names
    assert all(figure.path.read_text().startswith("<?xml") for figure in figures)
    assert draw_stored(DRAWINGS, of_run(Store(tmp_path), run), tmp_path / "none") == []
