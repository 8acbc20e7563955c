"""The student beside its parent: windows of tokens in, the summed objective out; and the loss by position."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from dropeact.axes import POSITION_BIN
from dropeact.checkpoints import objectives


class Student(nn.Module):
    """A model in training with its objective, as one module whose forward returns the summed loss (DDP sees it)."""

    def __init__(self, model: Any, parent: Any | None, *, precision: torch.dtype):
        super().__init__()
        self.model = model
        self.precision = precision
        # in a tuple, so that the parent is no submodule: neither trained, saved nor synchronised
        self._parent = (parent,)

    @property
    def parent(self) -> Any | None:
        """The RoPE parent under `distill`, nothing under `ce`."""
        return self._parent[0]

    def forward(self, tokens: Int[Tensor, "window token"]) -> Float[Tensor, ""]:
        """Return the objective summed over the windows' targets: KL to the parent, or next-token loss."""
        hidden, head = final_states(self.model, tokens, self.precision)
        if self.parent is None:
            return objectives.cross_entropy(hidden[:, :-1].flatten(0, 1), head, tokens[:, 1:].flatten())
        with torch.no_grad():
            parent_hidden, parent_head = final_states(self.parent, tokens, self.precision)
        return objectives.distillation(hidden.flatten(0, 1), head, parent_hidden.flatten(0, 1), parent_head)

    def targets(self, tokens: Int[Tensor, "window token"]) -> int:
        """Count the terms of the loss."""
        return tokens.numel() if self.parent is not None else tokens[:, 1:].numel()


def final_states(model: Any, tokens: Int[Tensor, "window token"], precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return a model's final hidden states [window, token, hidden] and its output matrix, in the precision given."""
    half = precision != torch.float32
    with torch.autocast(tokens.device.type, precision) if half else nullcontext():
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    return hidden.to(precision), model.lm_head.weight.to(precision)


def learning_rate(step: int, *, steps: int | None, warmup: int) -> float:
    """Return the rate of one step as a share of its peak: linear warm-up, then a cosine to zero after the last step.

    (step + 1) / warmup, then (1 + cos(pi (step - warmup) / (steps - warmup))) / 2; `steps` may be unknown before
    """
    if step < warmup:
        return (step + 1) / warmup
    assert steps is not None
    return (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2


@torch.no_grad()
def position_losses(
    model: Any, windows: Int[Tensor, "window token"], *, precision: torch.dtype, at_once: int = 4
) -> Float[Tensor, " position"]:
    """Return the next-token loss of targets 1..T-1, summed over windows, in nats and float64."""
    total = torch.zeros(windows.shape[1] - 1, dtype=torch.float64)
    for part in windows.split(at_once) if len(windows) else ():  # a process may have no share of them
        hidden, head = final_states(model, part, precision)
        for tokens, states in zip(part, hidden, strict=True):
            logits = functional.linear(states[:-1], head).float()
            total += functional.cross_entropy(logits, tokens[1:], reduction="none").cpu().double()
    return total


def by_bin(losses: Float[Tensor, " position"]) -> list[float]:
    """Return the mean loss of each run of 128 targets."""
    return [float(part.mean()) for part in losses.split(POSITION_BIN)]
