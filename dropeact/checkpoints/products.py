"""Linear layers of a model -> the same ones, multiplied by oneDNN on CPUs with AVX-512.

torch multiplies float32 matrices with MKL, which leaves AVX-512 unused on processors of other makers than its own and
is half as fast there. oneDNN, which torch carries too, uses it on all of them. Both sum in float32; results differ by
rounding. `torch.backends.mkldnn.flags(enabled=False)` gives MKL's back.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

PRODUCT: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # what torch's compiler makes of a linear layer
IS_THERE = PRODUCT is not None and torch.backends.cpu.get_cpu_capability() == "AVX512"


class OneDnnLinear(nn.Linear):
    """x W^T + b by oneDNN for float32 on a CPU where no gradient is asked for; otherwise as its parent."""

    def forward(self, input: Float[Tensor, "... in_features"]) -> Float[Tensor, "... out_features"]:
        """The product, shaped as its parent's."""
        if not self._serves(input):
            return super().forward(input)
        return PRODUCT(input, self.weight, self.bias, "none", [], "")

    def _serves(self, input: Tensor) -> bool:
        """Whether oneDNN may multiply; weights with gaps between rows would take it a thousand times as long."""
        plain = input.device.type == "cpu" and input.dtype == self.weight.dtype == torch.float32 and input.numel() > 0
        learns = torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad)
        wanted = torch.backends.mkldnn.enabled and not torch.is_autocast_enabled("cpu")
        return plain and wanted and not learns and self.weight.is_contiguous()


def by_onednn(model: nn.Module) -> None:
    """Let a model's linear layers multiply by oneDNN, in place, where this machine gains from it."""
    for module in model.modules():
        if IS_THERE and type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
