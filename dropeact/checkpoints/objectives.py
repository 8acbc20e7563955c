"""Training losses from final hidden states, without ever holding all logits: [token, hidden] x head -> one number.

The vocabulary is large (49,152 x 4 bytes a token), so each loss is taken in chunks of tokens, and its gradient with
respect to hidden states (and head) is formed in the same pass.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

CHUNK = 128


class _Distillation(torch.autograd.Function):
    """Sum over tokens of KL(parent || student); its gradient in the logits is softmax(student) - softmax(parent)."""

    @staticmethod
    def forward(ctx, hidden: Tensor, head: Tensor, parent_hidden: Tensor, parent_head: Tensor) -> Tensor:
        gradients = _Gradients(ctx, hidden, head)
        total = hidden.new_zeros((), dtype=torch.float32)
        for rows in gradients.chunks():
            student = functional.log_softmax(functional.linear(hidden[rows], head).float(), -1)
            parent = functional.log_softmax(functional.linear(parent_hidden[rows], parent_head).float(), -1)
            probability = parent.exp()
            total += torch.dot(probability.flatten(), parent.sub_(student).flatten())
            gradients.add(rows, student.exp_().sub_(probability))
        gradients.keep()
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return (*_scaled(ctx, grad_outputs[0]), None, None)


class _CrossEntropy(torch.autograd.Function):
    """Sum over tokens of -log p(target); its gradient in the logits is softmax(student) - onehot(target)."""

    @staticmethod
    def forward(ctx, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        gradients = _Gradients(ctx, hidden, head)
        total = hidden.new_zeros((), dtype=torch.float32)
        for rows in gradients.chunks():
            student = functional.log_softmax(functional.linear(hidden[rows], head).float(), -1)
            wanted = targets[rows, None]
            total -= student.gather(1, wanted).sum()
            gradient = student.exp_()
            gradients.add(rows, gradient.scatter_add_(1, wanted, gradient.new_full(wanted.shape, -1.0)))
        gradients.keep()
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return (*_scaled(ctx, grad_outputs[0]), None)


class _Gradients:
    """The gradients of a loss in hidden states and head, gathered chunk by chunk during the forward pass."""

    def __init__(self, ctx, hidden: Tensor, head: Tensor):
        self.ctx, self.states, self.head = ctx, hidden, head
        self.hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        self.weight = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None

    def chunks(self) -> list[slice]:
        return [slice(start, start + CHUNK) for start in range(0, len(self.states), CHUNK)]

    def add(self, rows: slice, logits: Float[Tensor, "token vocabulary"]) -> None:
        gradient = logits.to(self.head.dtype)
        if self.hidden is not None:
            self.hidden[rows] = gradient @ self.head
        if self.weight is not None:
            self.weight += gradient.T @ self.states[rows]

    def keep(self) -> None:
        self.ctx.save_for_backward(self.hidden, self.weight)


def _scaled(ctx, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
    hidden, weight = ctx.saved_tensors
    return None if hidden is None else hidden * upstream, None if weight is None else weight * upstream


def distillation(
    hidden: Float[Tensor, "token hidden"],
    head: Float[Tensor, "vocabulary hidden"],
    parent_hidden: Float[Tensor, "token parent_hidden"],
    parent_head: Float[Tensor, "vocabulary parent_hidden"],
) -> Float[Tensor, ""]:
    """Return the sum over tokens of the forward KL from the parent's next-token distribution to the student's, in nats.

    sum_t sum_v p_t(v) (ln p_t(v) - ln s_t(v)), p = softmax(parent_hidden parent_head^T), s = softmax(hidden head^T)
    """
    value = _Distillation.apply(hidden, head, parent_hidden, parent_head)
    assert isinstance(value, Tensor)
    return value


def cross_entropy(
    hidden: Float[Tensor, "token hidden"], head: Float[Tensor, "vocabulary hidden"], targets: Int[Tensor, " token"]
) -> Float[Tensor, ""]:
    """Return the sum over tokens of the next-token loss -ln s_t(target_t), in nats."""
    value = _CrossEntropy.apply(hidden, head, targets)
    assert isinstance(value, Tensor)
    return value
