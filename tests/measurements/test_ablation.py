import numpy as np
import pytest
import xarray as xr

from dropeact import pairs
from dropeact.measurements import ablation
from dropeact.measurements.ablated import decoded, effects, losses
from dropeact.measurements.atlas import ABLATIONS, atlas
from dropeact.measurements.controls import controls
from dropeact.measurements.disruption import equal_dose, masks
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.observe import observe
from dropeact.measurements.perplexity import token_nats
from dropeact.measurements.request import Request
from dropeact.probes.ablations import DropOutputs
from dropeact.probes.channels import OnePerHead, ReplaceDims
from dropeact.probes.first_token import DropFirstMlp
from dropeact.probes.interventions import intervening
from dropeact.store import Store
from tests import tiny_models
from tests.measurements.test_disruption import norms_with


def labels(texts: int) -> dict[str, list[str]]:
    return {"ids": [f"text-{i}" for i in range(texts)], "halves": ["A"] * texts}


@pytest.mark.parametrize("name", ABLATIONS)
def test_atlas_that_shares_the_layers_below_against_whole_passes(name: str) -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens(3, 20)
    seen = atlas(model, ids, name, **labels(3))
    assert seen["nats"].dims == ("text", "condition", "layer")
    assert seen["condition"].values.tolist() == [name]
    for layer in range(3):
        with intervening(model, DropOutputs(layer, *ABLATIONS[name])):
            expected = token_nats(model(ids, use_cache=False).logits, ids).mean(-1)
        np.testing.assert_allclose(seen["nats"].sel(condition=name, layer=layer), expected, atol=1e-5)
    plain = token_nats(model(ids, use_cache=False).logits, ids).mean(-1)
    np.testing.assert_allclose(seen["undisturbed"], plain, atol=1e-6)


def test_losses_of_texts_in_a_batch_against_one_at_a_time() -> None:
    model, ids = tiny_models.llama("gqa-nope"), tiny_models.tokens(3, 20)
    jin = ReplaceDims(OnePerHead())
    seen = losses(model, ids, [jin], condition="top1-mean", **labels(3))
    for row in range(3):
        with intervening(model, jin):
            alone = token_nats(model(ids[row : row + 1], use_cache=False).logits, ids[row : row + 1]).mean()
        assert float(seen["nats"][row, 0]) == pytest.approx(float(alone), abs=1e-5)


def test_tokens_from_the_cache_against_one_pass_and_against_a_hook_on_every_call() -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens(3, 20)
    found: dict[str, float] = {}
    changes = {"first-mlp": DropOutputs(1, ("mlp",), "first"), "call-mlp": DropOutputs(1, ("mlp",), "call")}
    for name, change in changes.items():
        with intervening(model, change):
            whole = token_nats(model(ids, use_cache=False).logits, ids)[:, 11:].mean(-1)
        seen = decoded(model, ids, [change], prompt=12, condition=name, **labels(3))["nats"].sel(condition=name)
        found[name] = float(abs(seen.values - whole.numpy()).max())
    assert found["first-mlp"] < 1e-4
    assert found["call-mlp"] > 1e-2  # one pass changes the first token alone, decoding every token that follows


def test_effects_of_nothing_are_what_an_observation_shows_and_an_ablation_changes_them() -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens(2, 70)
    plain = observe(model, ids, ids=["text-0", "text-1"], halves=["A", "A"])
    nothing = effects(model, ids, [], condition="baseline", **labels(2))
    for name in ("first_norm", "other_norm_median", "entropy"):
        xr.testing.assert_equal(nothing[name].sel(condition="baseline", drop=True), plain[name])
    scores = plain["sink_score"].sel(length=64, convention="without_first_query", drop=True)
    np.testing.assert_allclose(nothing["sink_rate"][:, 0], (scores >= 0.3).mean("head"))
    changed = effects(model, ids, [DropFirstMlp(1)], condition="first-mlp", **labels(2))
    moved = changed["first_norm"].values[:, 0] != nothing["first_norm"].values[:, 0]
    assert moved.tolist() == [[False, False, True, True]] * 2


def test_controls_are_as_many_as_the_massive_and_never_among_them_against_hand_count() -> None:
    norms = norms_with({("query", 0): 3, ("query", 1): 2, ("key", 1): 1})
    dose = equal_dose(norms, norms)
    massive = masks(norms, dose, seed=0).sel(condition="massive")
    for name in ("next-largest", "smallest"):
        control = controls(norms, dose, name)
        for tensor, chosen in (("query", control.query), ("key", control.key)):
            assert chosen[0].sum((1, 2)).tolist() == dose.sel(tensor=tensor).values.tolist()
            assert not (chosen[0].numpy() & massive[tensor].values).any()
            matrix = norms[f"{tensor}_norm"].values[0]
            rest = np.sort(matrix[matrix < 10])
            k = int(dose.sel(tensor=tensor, layer=0))
            expected = rest[rest.size - k :] if name == "next-largest" else rest[:k]
            np.testing.assert_array_equal(np.sort(matrix[chosen[0, 0].numpy()]), expected)


def test_the_next_largest_of_the_model_with_more_massive_values_are_not_massive() -> None:
    norms, fewer = norms_with({("query", 0): 3}), norms_with({("query", 0): 1}, seed=1)
    chosen = controls(norms, equal_dose(norms, fewer), "next-largest").query[0, 0].numpy()
    assert chosen.sum() == 1
    assert norms["query_norm"].values[0][chosen] < 5


def planned(tmp_path, half: str = "A"):
    measuring = Measuring(Request(pair=pairs.load("smollm2-135m"), sets="ablation"), Store(tmp_path))
    return [task for task in ablation.tasks(measuring) if task.cell.half == half and task.cell.column == "rope"]


def test_every_condition_is_a_cell_of_its_own(tmp_path) -> None:
    names = [task.cell.measurement for task in planned(tmp_path)]
    assert len(names) == len(set(names)) == 19
    assert {name.split(".")[0] for name in names} == {
        "ablation",
        "effects",
        "decoded",
        "atlas",
        "disruption_by_threshold",
    }
    assert len({task.cell.key for task in planned(tmp_path)}) == 19


def test_passes_of_an_atlas_against_a_count_of_layers_and_head(tmp_path) -> None:
    # 30 layers of 3.54 M parameters and a head of 28.3 M: 1 + (30 x 28.3 + 465 x 3.54) / (28.3 + 30 x 3.54) = 19.6
    (passes,) = {task.passes for task in planned(tmp_path) if task.cell.measurement.startswith("atlas")}
    assert passes == round(8 * 96 / 256 * 19.55)


def test_the_texts_of_an_atlas_are_spread_evenly() -> None:
    assert ablation.evenly(16, 8) == [0, 2, 4, 6, 8, 10, 12, 15]
    assert ablation.evenly(5, 8) == [0, 1, 2, 3, 4]
