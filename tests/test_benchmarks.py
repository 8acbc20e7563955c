"""The benchmarks in small: they measure what they say, and their alternatives give the numbers that ours give."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from benchmarks import alternatives, gpu, long_texts, passes, profiles, sets
from benchmarks.performance_page import page
from benchmarks.timing import in_turn, peak_memory
from dropeact import pairs
from dropeact.checkpoints.products import IS_THERE, by_onednn
from dropeact.measurements import ablation, disruption, loss_curve
from dropeact.measurements.attention import READINGS
from dropeact.probes.probing import probing
from dropeact.store import Store
from tests import tiny_models
from tests.checkpoints import tiny

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
    each = masks.assign({tensor: masks[tensor].expand_dims(text=["0", "1"]) for tensor in disruption.HEADS})
    once = disruption.disrupt(model, ids, each, ids=["0", "1"], halves=["A", "A"])["nats"]
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
    model, tokens = tiny_models.llama(), tiny_models.tokens(1, 16)
    by_onednn(model)
    ways = {row["way"] for row in passes.measured(model, tokens[0])}
    assert ways == set(passes.ways(model, tokens))
    assert ("plain pass, products by MKL" in ways) == IS_THERE
    assert torch.backends.mkldnn.enabled


def test_long_texts_give_finite_curves(monkeypatch):
    monkeypatch.setattr(long_texts, "LAYERS", {32: 2, 64: 1})
    model = tiny_models.llama()
    rows = long_texts.measured(model, tiny_models.tokens(1, 64)[0])
    assert [row["length"] for row in rows] == [32, 32, 64, 64]
    assert [row["way"] for row in rows[1:3]] == ["probed, 2 layers", "plain pass (SDPA), 1 layer"]
    assert model.config.num_hidden_layers == 1


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
    rows = gpu.on("cpu", TINY, texts=2, lengths=(16, 1024))
    assert rows[0]["way"] == "matrix multiplication"
    assert [row["length"] for row in rows[1:]] == [16] * 4 + [1024] * 3
    assert not any("core set" in row["way"] for row in rows if row.get("length") == 1024)  # only as long as its cells
    # per layer: q and o 32 x 32, k and v 32 x 16, three of 32 x 64; attention 2 x 2 x 16 x 16 x 32 / 2 a text and layer
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    assert gpu.flops(TINY, 2, 16) == 2 * 2 * 16 * weights + 2 * 2 * (2 * 16 * 16 * 32)


def test_the_claim_suite_of_two_random_models_measures_every_cell_without_generation(tmp_path, monkeypatch):
    for name, length in (("core.OBSERVATION_LENGTH", 24), ("core.LOSS_LENGTH", 16), ("ablation.EFFECTS_LENGTH", 16)):
        monkeypatch.setattr(f"dropeact.measurements.{name}", length)
    monkeypatch.setattr(ablation, "ATLAS_LENGTH", 12)
    monkeypatch.setattr(ablation, "PROMPT", 8)
    monkeypatch.setattr(loss_curve, "LENGTH", 256)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in tiny.documents(16, words=60)))
    pair = replace(pairs.load(gpu.PAIR), published=False, other_arms=())
    saved, save = [], Store.save
    monkeypatch.setattr(Store, "save", lambda store, cell, *rest: saved.append(cell) or save(store, cell, *rest))
    row = gpu.claim_suite("cpu", TINY, pair=pair, texts=str(texts))
    assert row["way"] == "claim suite without generation, both models"
    assert row["columns"] == "rope, dropped, drope"
    assert row["seconds"] > 0
    assert row["making"] > 0
    assert row["cells"] == len(saved) == len({str(cell) for cell in saved})
    assert {cell.measurement.split(".")[0] for cell in saved} >= {
        "observations", "disruption", "phenomena", "ablation", "effects", "atlas", "noise-floor",
    }  # fmt: skip
    assert {cell.column for cell in saved} == {"rope", "dropped", "drope"}


def stored_rows(**parts):
    machine = {"processor": "x", "cores": 2, "device": "none", "torch": "2"}
    return {part: {"machine": machine, "date": "2026-01-01", "rows": rows} for part, rows in parts.items()}


def timed(way, seconds, ratio, **fields):
    return {"way": way, "seconds": seconds, "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio} | fields


def observed(rebuilt):
    rows = [timed("observe", 4.0, 1.0), timed("of it: spectra of the stream", 2.5, 0.6)]
    rows += [timed("capture, rebuild, SVD", 4 * rebuilt, rebuilt), timed("of it: SVD of the stream", 3.0, 0.8)]
    return [row | {"peak_mib": 1.0} for row in (*rows, timed("plain passes", 0.5, 0.1))]


def missed(text):
    return [line for line in text.splitlines() if line.startswith("- *")]


def test_a_reason_is_printed_with_the_target_that_it_belongs_to_against_hand_count():
    (line,) = missed(page(stored_rows(observation=observed(2.0))))
    assert line.startswith("- *observations beside capture, rebuild, SVD:* the spectra of the stream take 2.50 of our")
    assert "4.00 s (62%), and 3.00 of the other way's 8.00 s" in line
    assert "would be 2.67 x faster" in line  # 8 / (0.5 + 2.5)
    assert missed(page(stored_rows(observation=observed(3.5)))) == []


def test_a_missed_target_without_rows_that_explain_it_says_so():
    (line,) = missed(page(stored_rows(observation=observed(2.0)[::2])))  # neither spectra nor SVD
    assert line == "- *observations beside capture, rebuild, SVD:* the rows do not say why."


def test_what_a_probed_pass_costs_is_told_by_the_stored_passes_and_profile_against_hand_count():
    ways = ("plain pass (SDPA)", "probed: norms, sink mass", "probed: norms, sink mass, row entropy")
    passed = [
        timed(way, 10.0 * ratio, ratio, length=8192, peak_mib=1000 * memory)
        for way, ratio, memory in zip(ways, (1.0, 1.2, 1.7), (1.0, 1.0, 1.2), strict=True)
    ]
    spent = [(ways[0], "fused", 1.0), (ways[0], "mm", 0.5), (ways[2], "bmm", 1.5), (ways[2], "mm", 0.6)]
    profile = [{"way": w, "operation": o, "calls": 1, "seconds": s, "share": 0.5} for w, o, s in spent]
    lines = missed(page(stored_rows(passes=passed, profile=profile)))
    assert [line[3:].split(":*")[0] for line in lines] == [
        "the same at 8,192 tokens with row entropy", "peak memory of the probed pass at 8,192 tokens",
    ]  # fmt: skip
    assert "of 7.00 s above the plain pass, 2.00 s are there without entropy" in lines[0]
    assert lines[0].endswith("`bmm` +1.50 s, `fused` -1.00 s, `mm` +0.10 s.")


def test_targets_of_a_gpu_are_in_the_table():
    rows = [{"way": "matrix multiplication", "tflops": 100.0}]
    for length, share in ((512, 0.5), (4096, 0.3)):
        for way in ("plain pass (SDPA)", "probed: norms, sink mass, row entropy"):
            found = {"way": way, "texts": 8, "length": length, "seconds": 1.0}
            rows.append(found | {"tflops": 100 * share, "of_ceiling": share})
    rows.append({"way": gpu.SUITE, "seconds": 200.0, "making": 9.0, "columns": "rope, dropped, drope", "cells": 7})
    text = page(stored_rows(gpu=rows))
    assert "8 x 512 tokens, bfloat16 | at least 40 % of the matrix product's ceiling | 50% |" in text
    assert [line.split(":*")[1] for line in missed(text)] == [
        " the plain pass reaches 30%.", " the rows do not say why.",
    ]  # fmt: skip
    assert "| at most 180 s | 200 s |" in text
    assert "(7 cells of rope, dropped, drope; making the weights took 9 s more) | 200.0 |" in text


def test_a_part_that_was_not_measured_says_so():
    text = page({})
    assert text.count("Not measured.") == 8
    assert text.count("| not measured |") == 12
    assert missed(text) == []
