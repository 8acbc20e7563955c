"""Items that are asked in turns, each under a draw of its own, come back in their order, each as asked alone."""

import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.corpus.facts import facts
from dropeact.measurements import behaviour, conditions, core
from dropeact.measurements.disruption import RANDOM
from dropeact.measurements.knowledge import knowledge
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.measurements.retrieval import retrieval
from dropeact.pairs import of
from dropeact.probes.interventions import ZeroDims
from dropeact.store import Store
from tests.checkpoints import tiny

HALF = "A"


@pytest.fixture(scope="module")
def measuring(tmp_path_factory):
    """A tiny pair whose observations of the other half are measured."""
    home = tmp_path_factory.mktemp("turns")
    model = tiny.llama(layers=3)
    for name in ("q_proj", "k_proj"):
        model.get_parameter(f"model.layers.1.self_attn.{name}.weight")[3] *= 30
    model.save_pretrained(home / "rope")
    tiny.tokenizer().save_pretrained(home / "rope")
    made = Measuring(Request(of(str(home / "rope"), str(home / "rope"))), Store(home / "run"))
    for column in ("rope", "drope"):
        for half in "AB":
            task = core.observations(made, column, "passages", half)
            made.store.save(task.cell, task.measure(), {})
    return made


def test_random_draws_are_several_in_each_half_and_others_one_for_all(measuring):
    drawn = [behaviour.chosen(measuring, "rope", half, "random") for half in "AB"]
    zeroed = [draw["random"][0] for draws in drawn for draw in draws]
    masks = [each.query for each in zeroed if isinstance(each, ZeroDims)]
    assert len(masks) == 2 * len(RANDOM)
    assert len({mask.numpy().tobytes() for mask in masks}) == len(masks)
    assert {int(mask.sum()) for mask in masks} == {1}
    assert len(behaviour.chosen(measuring, "rope", HALF, "massive")) == 1


@pytest.mark.parametrize("condition", ["massive", "random"])
def test_facts_asked_in_turns_are_those_of_each_draw_alone(measuring, condition, monkeypatch):
    items = [item for item in facts() if item.half == HALF][:10]
    monkeypatch.setattr(behaviour, "facts", lambda: items)
    found = behaviour.known_facts(measuring, "rope", HALF, condition).measure()
    assert found["text"].values.tolist() == [item.id for item in items]
    draws = behaviour.chosen(measuring, "rope", HALF, condition)
    checkpoint = measuring.checkpoint("rope")
    for turn, interventions in enumerate(draws):
        options = {"write_layer": behaviour.selected_layer(measuring, HALF), "selected_on": "B"}
        alone = knowledge(checkpoint.model, checkpoint.tokenizer, items, interventions, **options)
        own = slice(turn, None, len(draws))
        for name in ("log_odds", "yes_log_odds"):
            np.testing.assert_allclose(found[name][own], alone[name][own], atol=1e-4)
    assert found["first_ratio"].sizes == {"selected_on": 1, "condition": 1}


def test_numbers_asked_in_turns_are_those_of_each_draw_alone(measuring):
    checkpoint, draws = measuring.checkpoint("rope"), behaviour.chosen(measuring, "rope", HALF, "random")
    options = {"half": HALF, "lengths": (256,), "forms": ("plain",), "depths": (0.5,), "keys": 8, "verified": ()}
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    whole = [retrieval(model, tokenizer, draw, **options) for draw in draws]
    turns = [slice(turn, None, len(draws)) for turn in range(len(draws))]
    parts = [retrieval(model, tokenizer, draw, **options, which=turn) for draw, turn in zip(draws, turns, strict=True)]
    found = behaviour.interleaved(parts)
    assert found["text"].values.tolist() == whole[0]["text"].values.tolist()
    for item in range(found.sizes["text"]):
        expected = whole[item % len(draws)]["candidate_log_probability"][item]
        np.testing.assert_allclose(found["candidate_log_probability"][item], expected, atol=1e-3)


def test_one_part_is_as_it_was():
    part = xr.Dataset({"x": ("text", torch.arange(3).numpy())}, coords={"text": ["a", "b", "c"]})
    xr.testing.assert_identical(behaviour.interleaved([part]), part)


def test_random_is_a_condition_of_the_rope_model_alone():
    assert conditions.RANDOM in conditions.OF_COLUMN["rope"]
    assert conditions.RANDOM not in conditions.OF_COLUMN["drope"]
