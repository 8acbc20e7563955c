import numpy as np
import pytest
import xarray as xr

from dropeact import pairs
from dropeact.axes import LAMBDAS, MASSIVE_THRESHOLD
from dropeact.measurements import ablation, core, disruption
from dropeact.measurements import disruption_by_threshold as module
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.observe import observe
from dropeact.measurements.request import Request
from dropeact.store import Store
from tests import tiny_models

TEXTS = ["a", "b", "c"]


def norms_of(seed: int = 0, *, dim: int = 8) -> xr.Dataset:
    """Norms with a heavy tail: there are massive channels at every lambda."""
    rng = np.random.default_rng(seed)
    arrays = {
        "query_norm": (("layer", "head", "dim"), rng.lognormal(0, 1.5, (3, 4, dim))),
        "key_norm": (("layer", "kv_head", "dim"), rng.lognormal(0, 1.5, (3, 2, dim))),
    }
    return xr.Dataset(arrays, coords={"layer": range(3), "head": range(4), "kv_head": range(2), "dim": range(dim)})


def test_lambdas_are_those_that_verdicts_are_shown_at_but_the_declared_one() -> None:
    assert sorted((*module.THRESHOLDS, MASSIVE_THRESHOLD)) == list(LAMBDAS)
    assert set(module.CONDITIONS) < set(disruption.CONDITIONS)


def test_the_dose_is_the_smaller_count_at_each_lambda_against_hand_count() -> None:
    def norms(*large: float) -> xr.Dataset:
        query = np.full((1, 1, 100), (100 - sum(large)) / (100 - len(large)))  # the mean is 1
        query[0, 0, : len(large)] = large
        key = np.ones((1, 1, 100))
        return xr.Dataset(
            {"query_norm": (("layer", "head", "dim"), query), "key_norm": (("layer", "kv_head", "dim"), key)}
        )

    doses = module.equal_doses(norms(3.5, 4.5, 8, 8.5, 12), norms(3.5, 3.5, 3.5, 5.5, 11))
    assert doses.dims == ("threshold", "layer", "tensor")
    assert doses["threshold"].values.tolist() == list(module.THRESHOLDS)
    assert doses.sel(tensor="query", layer=0).values.tolist() == [5, 2, 1, 1]  # above 3, 4, 7 and 10
    assert not doses.sel(tensor="key").any()


def test_masks_nest_and_the_dose_falls_as_lambda_grows() -> None:
    one, other = norms_of(dim=256), norms_of(1, dim=256)
    doses = module.equal_doses(one, other, thresholds=LAMBDAS)
    assert (doses.diff("threshold") <= 0).all()
    assert (doses.sum("layer").diff("threshold").sum("tensor") < 0).all()
    chosen = module.masks(one, doses, TEXTS, seed=0)
    for tensor in disruption.HEADS:
        massive, random = (chosen[tensor].sel(condition=name) for name in module.CONDITIONS)
        axes = massive.dims[3:]
        expected = doses.sel(tensor=tensor, drop=True)
        for text in TEXTS:
            xr.testing.assert_equal(massive.sel(text=text, drop=True).sum(axes).drop_vars("condition"), expected)
        assert not (massive.values[1:] & ~massive.values[:-1]).any()
        assert (random.sum(axes) == massive.sum(axes)).all()
        assert not (random & massive).any()


@pytest.mark.parametrize("kind", ["gqa-rope", "gqa-nope"])
def test_losses_at_five_are_those_of_disruption_and_at_every_lambda_those_of_each_alone(kind: str) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(3, 30)
    one, other = norms_of(), norms_of(1)
    halves = ["A"] * 3
    chosen = module.masks(one, module.equal_doses(one, other, thresholds=LAMBDAS), TEXTS, seed=0)
    found = module.disrupt(model, ids, chosen, ids=TEXTS, halves=halves)
    assert found["nats"].dims == ("text", "threshold", "condition")
    assert found["dose"].dims == ("selected_on", "threshold", "layer", "tensor")
    assert (found["selected_on"].values.tolist(), found["half"].values.tolist()) == (["B"], halves)
    xr.testing.assert_equal(found["dose"].sel(selected_on="B", drop=True), chosen["dose"])
    for threshold in LAMBDAS:
        dose = disruption.equal_dose(one, other, threshold=threshold)
        masks = disruption.drawn(one, dose, TEXTS, seed=0, threshold=threshold)
        alone = disruption.disrupt(model, ids, masks, ids=TEXTS, halves=halves)
        own = found.sel(threshold=threshold, drop=True)
        xr.testing.assert_allclose(own["nats"], alone["nats"].sel(condition=list(module.CONDITIONS)), atol=1e-5)
        xr.testing.assert_equal(own["dose"], alone["dose"])
    declared = disruption.masks(one, disruption.equal_dose(one, other), seed=0)
    xr.testing.assert_equal(declared["dose"], chosen["dose"].sel(threshold=MASSIVE_THRESHOLD, drop=True))
    assert float(found["nats"].std("threshold").min()) > 0


def test_the_cell_of_a_half_takes_its_masks_from_the_other_and_counts_its_passes(tmp_path, monkeypatch) -> None:
    measuring = Measuring(Request(pair=pairs.load("smollm2-135m"), sets="ablation"), Store(tmp_path))
    task = ablation.losses_by_threshold(measuring, "drope", "A")
    assert task.passes == measuring.count("passages", "A") * 8  # four lambdas, massive and random
    keys = {core.observations(measuring, c, "passages", "B").cell.key for c in ("rope", "dropped", "drope")}
    assert set(task.cell.depends["other"].values()) == keys
    assert task.cell.depends["thresholds"] == [3, 4, 7, 10]

    model, ids = tiny_models.llama(), tiny_models.tokens(3, 30)
    seen = observe(model, tiny_models.tokens(3, 30, seed=2), ids=TEXTS, halves=["B"] * 3)
    own = seen[["query_norm", "key_norm"]].sel(selected_on="B", site="attended", drop=True)
    asked = []
    monkeypatch.setattr(measuring, "norms", lambda *where: asked.append(where) or own)
    monkeypatch.setattr(measuring, "tokens", lambda *_: (ids, TEXTS))
    monkeypatch.setattr(measuring, "checkpoint", lambda _: type("Checkpoint", (), {"model": model}))
    data = task.measure()
    assert {half for _, _, half in asked} == {"B"}
    assert {column for column, _, _ in asked} == {"rope", "drope"}
    assert data.sizes["threshold"] == 4
    assert np.isfinite(data["nats"].values).all()
