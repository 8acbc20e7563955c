"""Where the time of a plain and a probed pass goes, by operation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from benchmarks.passes import WITH_ENTROPY, cut, plain, probed

LENGTH, LAYERS, SHOWN = 8192, 4, 8


def measured(model: PreTrainedModel, text: Tensor) -> list[dict[str, Any]]:
    """The operations that take longest, through the first layers only; the model is cut short and stays so."""
    cut(model, LAYERS)
    tokens = text[None, :LENGTH]
    ways = {
        "plain pass (SDPA)": lambda: plain(model, tokens),
        "probed: norms, sink mass, row entropy": lambda: probed(model, tokens, WITH_ENTROPY),
    }
    return [row for name, way in ways.items() for row in operations(name, way)]


def operations(name: str, way: Callable[[], object]) -> list[dict[str, Any]]:
    """The operations of one way, longest first."""
    way()
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as seen:
        way()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "way": name,
            "operation": event.key,
            "calls": event.count,
            "seconds": round(event.self_cpu_time_total / 1e6, 3),
            "share": round(event.self_cpu_time_total / total, 3),
        }
        for event in events[:SHOWN]
    ]
