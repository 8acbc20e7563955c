"""Float32 matrix products by oneDNN on CPUs with AVX-512, and linear layers that multiply so.

torch multiplies float32 matrices with MKL, which leaves AVX-512 unused on processors of other makers than its own and
is half as fast there. oneDNN, which torch carries too, uses it on all of them. Both sum in float32; results differ by
rounding. `by_mkl` gives MKL's back for a while.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # what torch's compiler makes of a linear layer
IS_THERE = ONEDNN is not None and torch.backends.cpu.get_cpu_capability() == "AVX512"


def serves(rows: Tensor, weight: Tensor) -> bool:
    """Whether `product` may multiply these: float32 on a CPU that gains from it, and no gradient is asked for."""
    plain = rows.device.type == "cpu" and rows.dtype == weight.dtype == torch.float32 and rows.numel() > 0
    learns = torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad)
    wanted = IS_THERE and torch.backends.mkldnn.enabled and not torch.is_autocast_enabled("cpu")
    return plain and wanted and not learns


def product(
    rows: Float[Tensor, "... inner"], weight: Float[Tensor, "outer inner"], bias: Float[Tensor, " outer"] | None = None
) -> Float[Tensor, "... outer"]:
    """Return x W^T + b for rows x. W or its transpose has to be contiguous: gaps take a thousand times as long."""
    return ONEDNN(rows, weight, bias, "none", [], "")


class OneDnnLinear(nn.Linear):
    """A linear layer whose product is oneDNN's where that serves; otherwise its parent's."""

    def forward(self, input: Float[Tensor, "... in_features"]) -> Float[Tensor, "... out_features"]:
        """The product, shaped as its parent's."""
        if serves(input, self.weight) and self.weight.is_contiguous():
            return product(input, self.weight, self.bias)
        return super().forward(input)


def by_onednn(model: nn.Module) -> None:
    """Let a model's linear layers multiply by oneDNN, in place, where this machine gains from it."""
    for module in model.modules():
        if IS_THERE and type(module) is nn.Linear:
            module.__class__ = OneDnnLinear


@contextmanager
def by_mkl() -> Iterator[None]:
    """Multiply as a machine without AVX-512 does, for a while."""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before
