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
PARTS: tuple[Part, ...] = ("attention", "mlp")


@dataclass(frozen=True)
class DropOutputs:
    """Add 0 in the place of what `parts` of block `layer` give: after + attention + mlp, without those terms.

    `tokens` is `all`, or `first`: the one at absolute position 0, so that cached decoding changes none of the tokens
    written, and a row with padding on the left is changed where its text begins: pass `position_ids` that count its
    real tokens. What is left out is what the stream would have got, after a norm that some architectures put there.

    References
    ----------
    Africa (2026), experiment 6 (all tokens, or both parts of the first token at layer 1).
    """

    layer: int
    parts: tuple[Part, ...] = PARTS
    tokens: Literal["all", "first"] = "all"

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
                left = torch.zeros_like(given) if self.tokens == "all" else _without_first(given, positions)
                return left if isinstance(output, Tensor) else (left, *output[1:])

            for part, module in zip(PARTS, block.contributions, strict=True):
                if part in self.parts:
                    hooks.callback(module.register_forward_hook(leaves).remove)
            yield


def _without_first(given: Tensor, positions: Callable[[], Tensor]) -> Tensor:
    return given.masked_fill((positions() == 0)[..., None], 0)
