"""Every claim of the catalogue has a planted world in which it is contradicted."""

import pytest

from benchmarks.planted_claims import OWN, SETS, entries
from benchmarks.planted_items import Items, is_of_items, on_items
from dropeact.axes import Column
from dropeact.measured import natural
from dropeact.store import Store
from dropeact.verdicts import load_claims
from dropeact.verdicts.evaluation import evaluate
from dropeact.verdicts.rule import decide
from tests.synthetic_results import results

MEASURED = ("observations", "disruption", "phenomena", "ablation", "effects", "atlas")
DOWN = {"query_count": 2, "key_count": 2, "value_count": 3, "sink": 0.2, "peak": 3, "entropy": -0.5, "loss": 1}
TEXTS: tuple[dict[Column, dict[str, float]], ...] = (
    {
        "drope": DOWN | {"massive": 2.5, "write": 0.1, "local": 0.5, "attention_share": 0.5, "length": 40},
        "rope": {"sink": 0.05, "massive": 0.0, "channels": 50, "token": 7, "slow": 0.2, "write_at_w": 2},
    },
    {
        "drope": {"query_count": 1.0, "surge": 0.2, "massive": 0.0, "random": 0.5},
        "rope": {"query_count": 0.02, "key_count": 0.02, "random": 0.5},
    },
    {"drope": {"sink": 0.9, "surge": 0.5, "attention_share": 0.2, "technical": 3.0}, "rope": {"sink": 0.1}},
    {
        "rope": {"first-mlp": 0.1, "mlp-layer": 0.5, "attention-layer": 2.0, "first-values": 0.3}
        | {"sinks": 0.7, "valley": 0.21},
        "drope": {"first-mlp": 1.4, "first-layer": 0.5, "attention-layer": 0.5},
    },
)
ITEMS = (
    {"rope": {"passkey": 0.3, "cued": 0.3, "ranked": 0.0}, "drope": {"beyond": 0.1, "cued": 0.3, "gap": 0.3}},
    {
        "rope": {"cities:massive": 0.5, "sports:massive": 0.5, "beyond": 0.8},
        "drope": {"cities:massive": 0.5, "cities:first-mlp": 0.5, "reviews:massive": 0.5, "passkey:massive": 0.1},
    },
    {"drope": {"one digit": 0.05, "passkey": 0.3, "cued": 0.3}},
)


def of(items: bool):
    """The records of any pair about facts and prompts, or about texts."""
    return [entry for entry in entries(load_claims()) if entry.kind != "magnitude" and is_of_items(entry) == items]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return [Store(results(tmp_path_factory.mktemp("texts"), plant=plant, cells=MEASURED)) for plant in TEXTS]


def alone(entry, world):
    """The verdict of a record without its family."""
    item = entry.judged(world)
    return decide(item.p, item.p.decisive) if item.outcome is not None else item.verdict


def test_every_claim_about_texts_is_contradicted_in_some_planted_world(worlds):
    for entry in of(items=False):
        seen = [alone(entry, world) for world in worlds]
        assert "contradicted" in seen, (entry.key, seen)


def test_every_claim_about_facts_and_prompts_is_contradicted_in_some_planted_world():
    for entry in of(items=True):
        seen = [alone(on_items(entry), Items(rates).sampled(0, 0)) for rates in ITEMS]
        assert "contradicted" in seen, (entry.key, seen)


def test_a_channel_that_changes_from_text_to_text_contradicts_a_fixed_one(tmp_path):
    claim = load_claims()["sun-few-and-constant"]
    store = Store(results(tmp_path, plant={"rope": {"channel": 0.5}}))
    item = evaluate(claim, "direction", claim.function, claim.region, natural(store, OWN), SETS)
    assert decide(item.p, item.p.decisive) == "contradicted"


def test_where_no_channel_is_massive_in_both_models_disruption_is_untestable(tmp_path):
    nothing: dict[Column, dict[str, float]] = {
        "rope": {"dose": 0, "massive": 0.0, "random": 0.0},
        "drope": {"dose": 0, "massive": 0.0, "random": 0.0},
    }
    world = natural(Store(results(tmp_path, plant=nothing, cells=MEASURED)), OWN)
    claims = [claim for claim in load_claims().values() if claim.id.startswith("disruption-")]
    assert len(claims) > 4
    for claim in claims:
        found = evaluate(claim, "direction", claim.function, claim.region, world, SETS)
        assert (found.verdict, "no channel is massive in both models" in found.failure) == ("untestable", True), (
            claim.id
        )


def test_where_nothing_was_zeroed_what_it_takes_from_facts_and_prompts_is_untestable():
    class Undosed(Items):
        def load(self, column, corpus, arm, measurement):
            data = super().load(column, corpus, arm, measurement)
            return data * 0 if measurement == "disruption" else data

    said = {entry.claim.id: entry.judged(Undosed()).failure for entry in map(on_items, of(items=True))}
    zeroed = {id for id, reason in said.items() if "no channel is massive in both models" in reason}
    assert zeroed == {
        "jin-contextual-over-parametric",
        "knowledge-drope-parametric-unharmed",
        "knowledge-drope-robust",
        "knowledge-rope-contextual-loss",
        "passkey-drope-unaffected",
        "passkey-rope-collapses",
        "qk-disruption-passkey-both",
    }
