"""Sinks, entropy, local mass and decay of long texts: seconds and peak memory as the text grows.

The longest goes through one layer: attention to all keys of 128k tokens takes a CPU minutes a layer.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.passes import cut, plain
from benchmarks.timing import in_turn
from dropeact.measurements import attention, local_attention
from dropeact.probes.probing import probing

LAYERS = {8192: 4, 16384: 4, 32768: 4, 131072: 1}  # by the number of tokens; never more than before


@torch.no_grad()
def measured(model: PreTrainedModel, text: Tensor) -> list[dict[str, Any]]:
    """A row per length and way, through the first layers only; the model is cut short and stays so."""
    rows = []
    for length, layers in LAYERS.items():
        cut(model, layers)
        tokens, depth = text[None, :length], f"{layers} layer{'s' if layers > 1 else ''}"
        ways = {
            f"plain pass (SDPA), {depth}": lambda t=tokens: plain(model, t),
            f"probed, {depth}": lambda t=tokens: curves(model, t),
        }
        rows += [{"length": length} | timed.as_dict() for timed in in_turn(ways, rounds=1)]
    return rows


@torch.no_grad()
def curves(model: PreTrainedModel, tokens: Tensor) -> dict[str, float]:
    """One probed pass; means over layers and heads.

    Raises
    ------
    RuntimeError
        When a number is not finite: a time without a result says nothing.
    """
    with probing(model, attention.READINGS + local_attention.READINGS) as seen:
        model(tokens, use_cache=False, logits_to_keep=1)
    names = ("first_key_mass", "row_entropy", "local_mass", "distance_sum")
    means = {name: float(seen[name].mean()) for name in names}
    if not all(torch.isfinite(torch.tensor(value)) for value in means.values()):
        raise RuntimeError(f"not finite at {tokens.shape[1]} tokens: {means}")
    return means
