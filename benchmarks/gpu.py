"""A model shaped like Llama-2-7B, random bfloat16 weights made on the device, beside its matrix multiplication."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.passes import CORE, WITH_ENTROPY, WITHOUT_ENTROPY, plain, probed

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
SQUARE = 8192


def measured() -> list[dict[str, Any]]:
    """Nothing without a CUDA device: the page says so."""
    return on("cuda", SHAPE) if torch.cuda.is_available() else []


def on(device: str, shape: LlamaConfig, *, texts: int = TEXTS, lengths: tuple[int, ...] = LENGTHS) -> list[dict]:
    """Seconds, TFLOP/s and share of the ceiling of the plain and the probed pass."""
    ceiling = matrix_multiply(device, min(SQUARE, 2 * shape.hidden_size))
    model = random_model(device, shape)
    rows = [{"way": "matrix multiplication", "tflops": round(ceiling, 2)}]
    for length in lengths:
        tokens = torch.randint(0, shape.vocab_size, (texts, length), device=device)
        ways = {
            "plain pass (SDPA)": lambda t=tokens: plain(model, t),
            "probed: norms, sink mass": lambda t=tokens: probed(model, t, WITHOUT_ENTROPY),
            "probed: norms, sink mass, row entropy": lambda t=tokens: probed(model, t, WITH_ENTROPY),
            "probed: core set (stream entropies too)": lambda t=tokens: probed(model, t, CORE),
        }
        for name, way in ways.items():
            seconds = timed(device, way)
            rate = flops(shape, texts, length) / seconds / 1e12
            found = {"way": name, "texts": texts, "length": length, "seconds": round(seconds, 4)}
            rows.append(found | {"tflops": round(rate, 2), "of_ceiling": round(rate / ceiling, 3)})
    return rows


def random_model(device: str, shape: LlamaConfig) -> LlamaForCausalLM:
    """Weights made where they are used, in bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM(shape).eval()
    finally:
        torch.set_default_dtype(before)


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
