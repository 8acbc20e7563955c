"""A forward pass that begins in the middle: the hidden states before a layer stand in for the layers below it."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.probes.architectures import blocks_of


@contextmanager
def resuming(model: PreTrainedModel, layer: int, hidden: Float[Tensor, "batch token hidden"]) -> Iterator[None]:
    """Pass whole texts from block `layer` on, which is given `hidden` (the stream at depth `layer` of the same texts).

    The model's own code still makes masks and rotations, and ends with its norm and its head. Call it without a cache.
    """
    skipped = [block.module for block in blocks_of(model)[:layer]]
    before = [vars(module).get("forward") for module in skipped]  # accelerate wraps it on a model over several devices
    for module in skipped:
        module.forward = lambda *_args, **_options: hidden
    try:
        yield
    finally:
        for module, forward in zip(skipped, before, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward
