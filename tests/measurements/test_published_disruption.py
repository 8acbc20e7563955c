"""The study's own disruption, measured on a tiny pair that is declared published, against a pass written by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from dropeact import pairs
from dropeact.axes import other_half
from dropeact.estimators import Untestable
from dropeact.measured import MissingMeasurement, natural, replication
from dropeact.measurements import core, plan
from dropeact.store import Store
from tests import synthetic_results as synthetic
from tests.checkpoints import tiny

LAYERS, HALF = 2, "A"


@pytest.fixture(scope="module")
def measuring(tmp_path_factory):
    """Observations and losses of the RoPE column, measured as a run does; one channel of a layer stands out."""
    home = tmp_path_factory.mktemp("published")
    model = tiny.llama(layers=LAYERS)
    for name in ("q_proj", "k_proj"):
        model.get_parameter(f"model.layers.1.self_attn.{name}.weight")[3] *= 30
    model.save_pretrained(home / "rope")
    tiny.tokenizer().save_pretrained(home / "rope")
    pair = dataclasses.replace(pairs.of(str(home / "rope"), str(home / "rope")), published=True)
    made = plan.Measuring(plan.Request(pair), Store(home / "run"))
    wanted = [core.observations(made, "rope", "repeated", half) for half in "AB"]
    wanted += [core.published_losses(made, "rope", half) for half in "AB"]
    for task in wanted:
        made.store.save(task.cell, task.measure(), {})
    made.store.write_run(plan.run_record(made, wanted, ["core"]))
    return made


def by_hand(model, ids, chosen):
    """Mean loss of one text with channels of the projections' outputs set to 0."""

    def zero(mask):
        return lambda _module, _args, output: output.masked_fill(mask.flatten(), 0)

    hooks = [
        model.get_submodule(f"model.layers.{layer}.self_attn.{name}").register_forward_hook(zero(masks[layer]))
        for name, masks in chosen.items()
        for layer in range(LAYERS)
    ]
    logits = model(ids[None], use_cache=False).logits[0, :-1].double()
    for hook in hooks:
        hook.remove()
    return torch.nn.functional.cross_entropy(logits, ids[1:]).item()


def test_losses_of_a_published_pair_against_a_pass_with_the_projections_zeroed_by_hand(measuring):
    seen = measuring.store.load("rope", "repeated", "first", "observations")
    norms = seen.sel(selected_on=other_half(HALF), site="projected")
    chosen = {}
    for name, tensor in (("q_proj", "query_norm"), ("k_proj", "key_norm")):
        matrix = norms[tensor].values
        chosen[name] = torch.from_numpy(matrix > 5 * matrix.mean((1, 2), keepdims=True))
    assert [int(mask.sum()) for mask in chosen.values()] == [1, 1]
    tokens, ids = measuring.tokens("rope", "repeated", HALF, core.LOSS_LENGTH)
    model = measuring.checkpoint("rope").model
    rope = replication(measuring.store, measuring.request.pair).rope
    for condition, masks in (("baseline", {}), ("massive", chosen)):
        expected = [by_hand(model, text, masks) for text in tokens[:2]]
        np.testing.assert_allclose(rope.nats(condition).sel(text=ids[:2]), expected, rtol=1e-5)
    assert abs(rope.nats("massive") - rope.nats("baseline")).max() > 1e-3


def test_what_was_zeroed_is_stored_beside_the_losses_against_the_planted_channel(measuring):
    rope = replication(measuring.store, measuring.request.pair).rope
    dose = rope.published_disruption["dose"]
    assert dict(dose.sizes) == {"selected_on": 2, "layer": LAYERS, "tensor": 2}
    assert dose.sel(layer=1).values.tolist() == [[1, 1], [1, 1]]
    rope.require_dose()
    rope.published_disruption["dose"].loc[{"selected_on": "B"}] = 0
    with pytest.raises(Untestable, match="no channel is massive in both models"):
        rope.require_dose()


def test_planted_cells_have_the_variables_and_dimensions_of_these(measuring):
    measured = replication(measuring.store, measuring.request.pair).rope.published_disruption
    planted = synthetic.published_disruption(np.random.default_rng(0), ["a", "b"], HALF, {})
    assert set(planted.variables) <= set(measured.variables)
    assert all(set(planted[name].dims) == set(measured[name].dims) for name in planted.data_vars)


def test_the_natural_protocol_does_not_read_them(measuring):
    with pytest.raises(MissingMeasurement, match="disruption"):
        natural(measuring.store, measuring.request.pair).rope.nats("massive")


def test_a_pair_that_is_not_published_pays_nothing_for_them(measuring):
    pair = dataclasses.replace(measuring.request.pair, published=False)
    planned = plan.tasks(plan.Measuring(plan.Request(pair, sets="all"), measuring.store))
    assert [task for task in planned if "published" in task.cell.measurement] == []
