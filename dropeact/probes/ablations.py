"""What attention or the MLP of one layer adds to the residual stream, left out: for every token, or for the first."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dropeact.probes.edits import block_at, hearing_positions
from dropeact.probes.residual import first_of

Part = Literal["attention", "mlp"]
Tokens = Literal["all", "first", "call"]
PARTS: tuple[Part, ...] = ("attention", "mlp")


@dataclass(frozen=True)
class DropOutputs:
    """Add 0 in the place of what `parts` of block `layer` give: after + attention + mlp, without those terms.

    `tokens` is `all`, or `first`: the one at absolute position 0, so that cached decoding changes none of the tokens
    written, and a row with padding on the left is changed where its text begins: pass `position_ids` that count its
    real tokens. What is left out is what the stream would have got, after a norm that some architectures put there.
    `call` is the first token of every call, which under a cache is each token written: no result rests on it, it is
    here to show what hooks of that kind did to published ones.

    References
    ----------
    Africa (2026), experiment 6 (all tokens, or both parts of the first token at layer 1).
    """

    layer: int
    parts: tuple[Part, ...] = PARTS
    tokens: Tokens = "all"

    @contextmanager
    def entered(self, model: PreTrainedModel) -> Iterator[None]:
        """Apply the change to every forward pass inside.

        Raises
        ------
        InputError
            When the model has no such layer, or does not tell its blocks the positions of the tokens.
        """
        block = block_at(model, self.layer)
        with ExitStack() as hooks:
            positions = hooks.enter_context(hearing_positions(block))

            def leaves(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> Tensor | tuple:
                given = first_of(output)
                # a model may be spread over devices: positions are heard before they follow the stream to the block's
                left = given.masked_fill(_left_out(self.tokens, positions).to(given.device)[..., None], 0)
                return left if isinstance(output, Tensor) else (left, *output[1:])

            for part, module in zip(PARTS, block.contributions, strict=True):
                if part in self.parts:
                    hooks.callback(module.register_forward_hook(leaves).remove)
            yield


def _left_out(tokens: Tokens, positions: Callable[[], Tensor]) -> Tensor:
    """Which tokens of the call lose what the part gives."""
    here = positions()
    if tokens == "first":
        return here == 0
    return (
        torch.ones_like(here, dtype=torch.bool)
        if tokens == "all"
        else torch.arange(here.shape[1], device=here.device)[None] == 0
    )
