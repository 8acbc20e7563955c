"""Models shaped like Llama-2-7B, random bfloat16 weights made on the device: passes, and every cell of the claims.

Passes stand beside the device's matrix multiplication; cells that generate text are left out.
"""

import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.passes import CORE, WITH_ENTROPY, WITHOUT_ENTROPY, plain, probed
from dropeact import pairs
from dropeact.axes import COLUMNS
from dropeact.checkpoints.dropping import dropped
from dropeact.measurements.core import OBSERVATION_LENGTH
from dropeact.measurements.plan import Measuring, Request, tasks
from dropeact.pairs import Pair
from dropeact.store import Store

SHAPE = LlamaConfig(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    max_position_embeddings=4096,
)
TEXTS, LENGTHS, ROUNDS = 8, (512, 4096), 5
SQUARE, LONGEST = 8192, 1024
SUITE, SETS = "claim suite without generation, both models", "core,observe,ablation"
PAIR = "llama2-7b"  # its protocol: arms, repeated sentences


def measured() -> list[dict[str, Any]]:
    """Nothing without a CUDA device: the page says so."""
    return [*on("cuda", SHAPE), claim_suite("cuda", SHAPE)] if torch.cuda.is_available() else []


def on(device: str, shape: LlamaConfig, *, texts: int = TEXTS, lengths: tuple[int, ...] = LENGTHS) -> list[dict]:
    """Seconds, TFLOP/s and share of the ceiling of the plain and the probed pass."""
    ceiling = matrix_multiply(device, min(SQUARE, 2 * shape.hidden_size))
    model = random_model(device, shape)
    rows = [{"way": "matrix multiplication", "tflops": round(ceiling, 2)}]
    for length in lengths:
        tokens = torch.randint(0, shape.vocab_size, (texts, length), device=device)
        for name, way in ways(model, tokens).items():
            seconds = timed(device, way)
            rate = flops(shape, texts, length) / seconds / 1e12
            found = {"way": name, "texts": texts, "length": length, "seconds": round(seconds, 4)}
            rows.append(found | {"tflops": round(rate, 2), "of_ceiling": round(rate / ceiling, 3)})
    return rows


def ways(model: LlamaForCausalLM, tokens: Tensor) -> dict[str, Callable[[], object]]:
    """The plain pass first; the core set at lengths that its cells have: the CPU reduces a Gram matrix as wide."""
    found: dict[str, Callable[[], object]] = {
        "plain pass (SDPA)": lambda: plain(model, tokens),
        "probed: norms, sink mass": lambda: probed(model, tokens, WITHOUT_ENTROPY),
        "probed: norms, sink mass, row entropy": lambda: probed(model, tokens, WITH_ENTROPY),
    }
    if tokens.shape[1] <= OBSERVATION_LENGTH:
        found["probed: core set (stream entropies too)"] = lambda: probed(model, tokens, CORE)
    return found


def random_model(device: str, shape: LlamaConfig) -> LlamaForCausalLM:
    """Weights made where they are used, in bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM(shape).eval()
    finally:
        torch.set_default_dtype(before)


class RandomPair(Measuring):
    """Two random models that are measured like a pair, one in memory at a time; `making` sums the seconds they took."""

    def __init__(self, device: str, shape: LlamaConfig, request: Request, store: Store) -> None:
        super().__init__(request, store)
        self.device, self.shape, self.making = device, shape, 0.0
        self.tokenizer = RandomTokens(shape.vocab_size)

    @cached_property
    def identities(self) -> dict[str, dict[str, Any]]:
        """Names that are not those of any checkpoint."""
        return {column: {"id": f"random-{column}", "architecture": "llama"} for column in COLUMNS}

    def checkpoint(self, column: str) -> Any:
        """The random model of a column: the weights of `rope` with or without rotation, or others without it."""
        if self._loaded is None or self._loaded[0] != column:
            self._loaded = None
            _wait(self.device)
            start = time.perf_counter()
            torch.manual_seed(COLUMNS.index("drope" if column == "drope" else "rope"))
            model = random_model(self.device, self.shape).requires_grad_(False)
            model = model if column == "rope" else dropped(model)
            self._loaded = (column, SimpleNamespace(model=model.eval(), tokenizer=self.tokenizer))
            _wait(self.device)
            self.making += time.perf_counter() - start
        return self._loaded[1]


class RandomTokens:
    """A tokenizer that gives each text random ids of its own, as many as the cells with the longest texts need."""

    bos_token_id, eos_token_id = 1, 2
    unk_token = unk_token_id = None

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def __call__(self, text: str, **options: bool) -> dict[str, list[int]]:
        """Ids drawn with the text as seed."""
        drawn = np.random.default_rng(zlib.crc32(text.encode())).integers(3, self.vocabulary, LONGEST)
        return {"input_ids": drawn.tolist()}

    def convert_tokens_to_ids(self, token: str) -> int:
        """The separator, whatever it is called."""
        return self.eos_token_id


def claim_suite(device: str, shape: LlamaConfig, *, pair: Pair | None = None, texts: str | None = None) -> dict:
    """Seconds to measure and store every cell of the sets without generation, making the weights not counted.

    The just-dropped model, which has the RoPE model's weights, is measured too.
    """
    with tempfile.TemporaryDirectory() as folder:
        shape.save_pretrained(folder)  # some cells read how many layers the RoPE checkpoint has
        named = replace(pair or pairs.load(PAIR), rope=folder)
        request = Request(named, texts=texts, sets=SETS, device=device, dtype="bfloat16")
        measuring = RandomPair(device, shape, request, Store(Path(folder)))
        start = time.perf_counter()
        planned = tasks(measuring)
        for task in planned:
            measuring.store.save(task.cell, task.measure(), measuring.provenance(task.cell.column, 0.0))
        _wait(device)
        seconds = time.perf_counter() - start - measuring.making
    found = {"way": SUITE, "seconds": round(seconds, 2), "making": round(measuring.making, 2)}
    return found | {"columns": ", ".join(COLUMNS), "cells": len(planned)}


def matrix_multiply(device: str, side: int) -> float:
    """TFLOP/s of a square product in bfloat16: what a forward pass cannot exceed."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / timed(device, lambda: a @ b) / 1e12


def timed(device: str, way: Callable[[], object]) -> float:
    """Median seconds, the device's queue emptied before and after."""
    way()
    found = []
    for _ in range(ROUNDS):
        _wait(device)
        start = time.perf_counter()
        way()
        _wait(device)
        found.append(time.perf_counter() - start)
    return median(found)


def flops(shape: LlamaConfig, texts: int, length: int) -> float:
    """2 per weight of the blocks and token, and causal attention: 2 layers texts length^2 hidden."""
    hidden, heads, kv_heads = shape.hidden_size, shape.num_attention_heads, shape.num_key_value_heads or 1
    attention = 2 * hidden * hidden + 2 * hidden * hidden * kv_heads // heads
    weights = shape.num_hidden_layers * (attention + 3 * hidden * shape.intermediate_size)
    return 2.0 * texts * length * (weights + shape.num_hidden_layers * length * hidden)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
