"""The benchmarks in small: they measure what they say, and their alternatives give the numbers that ours give."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from benchmarks import alternatives, gpu, long_texts, passes, profiles, sets
from benchmarks.performance_page import page
from benchmarks.timing import in_turn, peak_memory
from dropeact.measurements import disruption
from dropeact.measurements.attention import READINGS
from dropeact.probes.probing import probing
from tests import tiny_models

TINY = LlamaConfig(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)


@pytest.mark.parametrize("way", [alternatives.eager_attentions, alternatives.capture_and_rebuild])
def test_alternatives_give_the_numbers_of_the_probes(way):
    model, ids = tiny_models.llama(), tiny_models.tokens(1, 30)
    with probing(model, READINGS) as seen, torch.no_grad():
        model(ids, use_cache=False)
    found = way(model, ids)
    for name in ("first_key_mass", "row_entropy"):
        torch.testing.assert_close(found[name], seen[name], atol=1e-5, rtol=1e-4)


def test_captured_streams_give_the_entropies_of_one_pass():
    sets.check_same_numbers(tiny_models.llama(), tiny_models.tokens(1, 30))


def test_the_loop_over_seeds_gives_the_losses_of_one_batch():
    model, ids = tiny_models.llama(), tiny_models.tokens(2, 30)
    masks = sets.drawn_masks(model, ids)
    once = disruption.disrupt(model, ids, masks, ids=["0", "1"], halves=["A", "A"])["nats"]
    looped = alternatives.seed_by_seed(model, ids, masks, seeds=3)
    for seed in range(3):
        names = ["baseline", "massive", f"random-{seed}"]
        np.testing.assert_allclose(looped[:, seed], once.sel(condition=names), rtol=1e-5)


def test_ratios_are_to_the_first_way():
    plain, same = in_turn({"plain": lambda: sum(range(1000)), "same": lambda: sum(range(1000))}, rounds=3)
    assert plain.ratios == (1.0, 1.0, 1.0)
    assert same.as_dict()["ratio_low"] <= same.as_dict()["ratio"] <= same.as_dict()["ratio_high"]


def test_peak_memory_sees_a_block_that_was_freed_again():
    before = peak_memory(lambda: None)
    after = peak_memory(lambda: torch.ones(64 * 2**20 // 4).sum())
    if before is None or after is None:
        pytest.skip("this system does not tell the peak memory of a process")
    assert after - before > 48


def test_every_way_of_a_pass_runs_on_a_short_text(monkeypatch):
    monkeypatch.setattr(passes, "LENGTHS", (16,))
    monkeypatch.setattr(passes, "ROUNDS", {16: 1})
    rows = passes.measured(tiny_models.llama(), tiny_models.tokens(1, 16)[0])
    assert {row["way"] for row in rows} == set(passes.ways(tiny_models.llama(), tiny_models.tokens(1, 16)))


def test_long_texts_give_finite_curves(monkeypatch):
    monkeypatch.setattr(long_texts, "LENGTHS", (32, 64))
    monkeypatch.setattr(long_texts, "LAYERS", 1)
    rows = long_texts.measured(tiny_models.llama(), tiny_models.tokens(1, 64)[0])
    assert [row["length"] for row in rows] == [32, 32, 64, 64]


def test_a_profile_names_the_operations_that_take_longest(monkeypatch):
    monkeypatch.setattr(profiles, "LENGTH", 32)
    monkeypatch.setattr(profiles, "LAYERS", 1)
    rows = profiles.measured(tiny_models.llama(), tiny_models.tokens(1, 32)[0])
    fused = [row for row in rows if "scaled_dot_product" in row["operation"]]
    assert {row["way"] for row in rows} >= {"plain pass (SDPA)"}
    assert all(row["way"] == "plain pass (SDPA)" for row in fused)
    assert sum(row["share"] for row in rows if row["way"] == "plain pass (SDPA)") <= 1.001


def test_the_shape_of_a_gpu_run_against_hand_count(monkeypatch):
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    rows = gpu.on("cpu", TINY, texts=2, lengths=(16,))
    assert rows[0]["way"] == "matrix multiplication"
    assert len(rows) == 5
    # per layer: q and o 32 x 32, k and v 32 x 16, three of 32 x 64; attention 2 x 2 x 16 x 16 x 32 / 2 a text and layer
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    assert gpu.flops(TINY, 2, 16) == 2 * 2 * 16 * weights + 2 * 2 * (2 * 16 * 16 * 32)


def test_a_part_that_was_not_measured_says_so():
    text = page({})
    assert text.count("Not measured.") == 8
    assert text.count("| not measured |") == 8
