"""Forward hooks -> the residual stream, what is added to it, and the heads of every projection, while they exist.

Depth 0 is what enters the first block (embeddings, scaled where the model scales them); depth l + 1 is what block l
leaves, always before the final norm.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from dropeact.probes.architectures import Block, TensorName, architecture_of, blocks_of, head_dim


@dataclass(frozen=True)
class Projected:
    """One tensor of one layer as its projection gives it: before QK-norm and rotation."""

    tensor: TensorName
    heads: Float[Tensor, "batch token head head_dim"]


@dataclass(frozen=True)
class Added:
    """What one block adds to the residual stream: after = before + attention + mlp."""

    before: Float[Tensor, "batch token hidden"]
    attention: Float[Tensor, "batch token hidden"]
    mlp: Float[Tensor, "batch token hidden"]
    after: Float[Tensor, "batch token hidden"]


OnStream = Callable[[int, Float[Tensor, "batch token hidden"]], None]
OnProjected = Callable[[int, Projected], None]
OnAdded = Callable[[int, Added], None]


@contextmanager
def listening_to_stream(model: PreTrainedModel, hear: OnStream) -> Iterator[None]:
    """Call `hear(depth, hidden)` at every depth of each forward pass inside."""
    blocks = blocks_of(model)

    def enters(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        hear(0, _entering(args, kwargs))

    def leaves(depth: int) -> Callable[[nn.Module, tuple, Tensor | tuple], None]:
        return lambda _module, _args, output: hear(depth, first_of(output))

    with ExitStack() as hooks:
        handle = blocks[0].module.register_forward_pre_hook(enters, with_kwargs=True)
        hooks.callback(handle.remove)
        for block in blocks:
            hooks.callback(block.module.register_forward_hook(leaves(block.layer + 1)).remove)
        yield


@contextmanager
def listening_to_projections(model: PreTrainedModel, hear: OnProjected) -> Iterator[None]:
    """Call `hear(layer, projected)` for queries, keys and values of every layer of each forward pass inside."""
    projections, width = architecture_of(model).projections, head_dim(model.config)

    def gives(block: Block, name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(_module: nn.Module, _args: tuple, output: Tensor) -> None:
            for tensor, heads in projections.heads(name, output, width):
                hear(block.layer, Projected(tensor, heads))

        return hook

    with ExitStack() as hooks:
        for block in blocks_of(model):
            for name, module in block.projections.items():
                hooks.callback(module.register_forward_hook(gives(block, name)).remove)
        yield


@contextmanager
def listening_to_additions(model: PreTrainedModel, hear: OnAdded) -> Iterator[None]:
    """Call `hear(layer, added)` when each block of each forward pass inside is done."""
    parts: dict[str, Tensor] = {}

    def enters(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        parts["before"] = _entering(args, kwargs)

    def gives(name: str) -> Callable[[nn.Module, tuple, Tensor | tuple], None]:
        return lambda _module, _args, output: parts.update({name: first_of(output)})

    def leaves(layer: int) -> Callable[[nn.Module, tuple, Tensor | tuple], None]:
        return lambda _module, _args, output: hear(layer, Added(after=first_of(output), **parts))

    with ExitStack() as hooks:
        for block in blocks_of(model):
            attention, mlp = block.contributions
            hooks.callback(block.module.register_forward_pre_hook(enters, with_kwargs=True).remove)
            hooks.callback(attention.register_forward_hook(gives("attention")).remove)
            hooks.callback(mlp.register_forward_hook(gives("mlp")).remove)
            hooks.callback(block.module.register_forward_hook(leaves(block.layer)).remove)
        yield


def _entering(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def first_of(output: Tensor | tuple) -> Tensor:
    """What a block or an attention module returns first: its hidden states."""
    hidden = output if isinstance(output, torch.Tensor) else output[0]
    assert isinstance(hidden, torch.Tensor)
    return hidden
