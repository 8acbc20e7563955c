"""The MLP of one layer left out for the first token alone: a value that a model can enter, like every intervention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from dropeact.axes import InputError
from dropeact.probes.architectures import blocks_of


@dataclass(frozen=True)
class DropFirstMlp:
    """x_0 after block `layer` is x_0 + attention(x_0), without the MLP; every other token keeps its own.

    The first token is the one at absolute position 0, so that cached decoding changes none of the tokens written, and a
    row with padding on the left is changed where its text begins: pass `position_ids` that count its real tokens.

    References
    ----------
    Queipo-de-Llano et al. (2025), ablation of the MLP contribution to the first token; arXiv:2510.06477.
    """

    layer: int

    @contextmanager
    def entered(self, model: PreTrainedModel) -> Iterator[None]:
        """Apply the change to every forward pass inside.

        Raises
        ------
        InputError
            When the model has no such layer, or does not tell its blocks the positions of the tokens.
        """
        blocks = blocks_of(model)
        if not 0 <= self.layer < len(blocks):
            raise InputError(f"expected a layer of 0..{len(blocks) - 1}; got {self.layer}; correct the write layer")
        block, seen = blocks[self.layer], {}

        def enters(_module: nn.Module, _args: tuple, kwargs: dict) -> None:
            seen["positions"] = kwargs.get("position_ids")

        def leaves(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
            if seen["positions"] is None:
                raise InputError("expected position_ids at every block; got none; choose another checkpoint")
            return output.masked_fill((seen["positions"] == 0)[..., None], 0)

        hooks = [
            block.module.register_forward_pre_hook(enters, with_kwargs=True),
            block.mlp.register_forward_hook(leaves),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
