"""One text through the default RoPE model: the probed pass beside the plain one and beside what others do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks.alternatives import capture_and_rebuild, eager_attentions
from benchmarks.timing import in_turn
from dropeact.checkpoints.products import OneDnnLinear, by_mkl
from dropeact.measurements import attention, massive_values, observe
from dropeact.probes.probing import Readings, probing

LENGTHS = (128, 512, 2048, 8192)
ROUNDS = {128: 15, 512: 7, 2048: 2, 8192: 3}
LIMIT = 2048  # beyond it whole matrices take minutes, and eager attention 72 GB


NORMS = massive_values.READINGS
WITHOUT_ENTROPY = NORMS + attention.SINKS
WITH_ENTROPY = NORMS + attention.READINGS
CORE = sum((phenomenon.READINGS for phenomenon in observe.PHENOMENA), Readings())
EVERYTHING = sum((phenomenon.READINGS for phenomenon in observe.EVERYTHING), Readings())


def cut(model: PreTrainedModel, layers: int) -> None:
    """Leave a model its first layers only; it stays so."""
    blocks = model.get_submodule("model.layers")
    assert isinstance(blocks, nn.ModuleList)
    model.base_model.layers = nn.ModuleList(list(blocks)[:layers])
    model.config.num_hidden_layers = layers


@torch.no_grad()
def plain(model: PreTrainedModel, tokens: Tensor) -> None:
    """A forward pass with fused attention, without the vocabulary."""
    model(tokens, use_cache=False, logits_to_keep=1)


def plain_by_mkl(model: PreTrainedModel, tokens: Tensor) -> None:
    """The same pass with the products that torch chooses."""
    with by_mkl():
        plain(model, tokens)


@torch.no_grad()
def probed(model: PreTrainedModel, tokens: Tensor, readings: Readings) -> None:
    """The same pass with readings."""
    with probing(model, readings):
        model(tokens, use_cache=False, logits_to_keep=1)


def ways(model: PreTrainedModel, tokens: Tensor) -> dict[str, Callable[[], object]]:
    """The plain pass first."""
    found: dict[str, Callable[[], object]] = {
        "plain pass (SDPA)": lambda: plain(model, tokens),
        "probed: norms, sink mass": lambda: probed(model, tokens, WITHOUT_ENTROPY),
        "probed: norms, sink mass, row entropy": lambda: probed(model, tokens, WITH_ENTROPY),
        "probed: core set (stream entropies too)": lambda: probed(model, tokens, CORE),
    }
    if any(isinstance(module, OneDnnLinear) for module in model.modules()):
        found["plain pass, products by MKL"] = lambda: plain_by_mkl(model, tokens)
    if tokens.shape[1] <= LIMIT:
        found |= {
            "probed: everything": lambda: probed(model, tokens, EVERYTHING),
            "capture q, k, v; rebuild attention": lambda: capture_and_rebuild(model, tokens),
            "eager, output_attentions": lambda: eager_attentions(model, tokens),
        }
    return found


def measured(model: PreTrainedModel, text: Tensor) -> list[dict[str, Any]]:
    """A row per length and way; `text` has at least as many tokens as the longest."""
    return [
        {"length": length} | timed.as_dict()
        for length in LENGTHS
        for timed in in_turn(ways(model, text[None, :length]), rounds=ROUNDS[length])
    ]
