"""Where a forward pass can be changed: what a block adds to the stream, and what a projection gives, by position.

A hook sees only the tokens of its call. Every edit here is told their absolute positions, because the first token of a
call is the first token of the text in one call alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from dropeact.axes import InputError
from dropeact.probes.architectures import Block, TensorName, architecture_of, blocks_of, head_dim


class Call(NamedTuple):
    """One projection of one layer, and the positions of the tokens that it is given."""

    layer: int
    tensor: TensorName
    positions: Int[Tensor, "#batch token"]


Heads = Float[Tensor, "batch token head head_dim"]
EditHeads = Callable[[Call, Heads], Heads]


def block_at(model: PreTrainedModel, layer: int) -> Block:
    """Look up one block of a model.

    Raises
    ------
    InputError
        When the model has no such layer.
    """
    blocks = blocks_of(model)
    if not 0 <= layer < len(blocks):
        raise InputError(f"expected a layer of 0..{len(blocks) - 1}; got {layer}; correct the layer")
    return blocks[layer]


@contextmanager
def hearing_positions(block: Block) -> Iterator[Callable[[], Int[Tensor, "#batch token"]]]:
    """Inside, the function that is given says the absolute positions of the tokens that the block is working on."""
    seen: dict[str, Tensor | None] = {}

    def enters(_module: nn.Module, _args: tuple, kwargs: dict) -> None:
        seen["positions"] = kwargs.get("position_ids")

    def positions() -> Tensor:
        if seen.get("positions") is None:
            raise InputError("expected position_ids at every block; got none; choose another checkpoint")
        return seen["positions"]  # pyright: ignore[reportReturnType] - not None, see above

    handle = block.module.register_forward_pre_hook(enters, with_kwargs=True)
    try:
        yield positions
    finally:
        handle.remove()


@contextmanager
def editing_projections(model: PreTrainedModel, layers: Sequence[int] | None, edit: EditHeads) -> Iterator[None]:
    """Replace what each projection of some layers (or of all) gives by `edit(call, heads)`, head by head.

    What is edited is what the cache will hold: later calls find it there.
    """
    projections, width = architecture_of(model).projections, head_dim(model.config)

    def gives(block: Block, name: str, positions: Callable[[], Tensor]) -> Callable[[nn.Module, tuple, Tensor], Tensor]:
        def hook(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
            edited = output.clone()
            for tensor, heads in projections.heads(name, edited, width):  # views of `edited`
                heads.copy_(edit(Call(block.layer, tensor, positions().to(heads.device)), heads))
            return edited

        return hook

    chosen = blocks_of(model) if layers is None else [block_at(model, layer) for layer in layers]
    with ExitStack() as hooks:
        for block in chosen:
            positions = hooks.enter_context(hearing_positions(block))
            for name, module in block.projections.items():
                hooks.callback(module.register_forward_hook(gives(block, name, positions)).remove)
        yield


def prompt_tokens(
    positions: Int[Tensor, "batch token"], lengths: Sequence[int] | None = None
) -> Bool[Tensor, "batch token"]:
    """Which tokens of a call belong to the prompt: those of the call that begins a text, up to its length.

    A row begins where its position is 0, after any padding; a call in which no row begins holds no prompt. `lengths`
    are of every row, or one for all; without them all tokens of the first call are the prompt.

    Raises
    ------
    InputError
        When a prompt is not whole in this call: nothing that is taken over all of it could be known.
    """
    columns = torch.arange(positions.shape[1], device=positions.device)
    begins = positions == 0
    first = (columns * begins).amax(-1, keepdim=True)  # the last column at position 0: padding may be given it too
    real = begins.any(-1, keepdim=True) & (columns >= first)
    if lengths is None:
        return real
    length = torch.tensor(lengths, device=positions.device)[:, None]
    inside = real & (positions < length)
    whole = inside.sum(-1, keepdim=True) == length
    if not (whole | ~begins.any(-1, keepdim=True)).all():
        raise InputError(
            f"expected prompts of {list(lengths)} tokens, each in one call; got at most {positions.shape[1]}; "
            "pass the whole prompt at once"
        )
    return inside
