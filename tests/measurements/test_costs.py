"""What a run is said to cost, on the shape of the published pair."""

from pathlib import Path

import pytest

from dropeact import pairs
from dropeact.measurements import costs, plan, shapes
from dropeact.measurements.core import LOSS_LENGTH
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.store import Store

SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"
LLAMA_2_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
ARCHITECTURES = {"rope": "llama", "dropped": "llama", "drope": "llama_drope"}


@pytest.mark.parametrize("sets", ["core", "all"])
def test_the_costs_of_the_published_pair_are_those_of_the_documentation(sets, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "config_of", lambda identifier: LLAMA_2_7B)
    monkeypatch.setattr(Measuring, "identities", {c: {"architecture": kind} for c, kind in ARCHITECTURES.items()})
    pair = pairs.load("llama2-7b")
    tasks = plan.tasks(Measuring(Request(pair, sets=sets, dtype="bfloat16"), Store(tmp_path)))
    asked, passed = (LOSS_LENGTH * sum(n) for n in ([t.passes for t in tasks], [t.passes * t.pace for t in tasks]))
    flops = passed * 2 * shapes.parameters(pair.rope)
    minutes = flops / costs.EFFECTIVE_FLOPS["cuda"] / 60
    row = f"| {sets} | {asked / 1e6:.2f} | {passed / 1e6:.2f} | {flops:.1e} | {minutes:.1f} |".replace("e+", "e")
    assert row in SCALING.read_text().splitlines()
