"""Values that say what to change in a forward pass, entered as one context manager; they compose in the given order.

An intervention names layers, heads, channels and absolute positions, never an index into the tensor of one call, so
that cached decoding gives what a pass over the whole text gives.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.probes.architectures import blocks_of
from dropeact.probes.attention import attending
from dropeact.probes.rows import Attended


@runtime_checkable
class Intervention(Protocol):
    """A change that a model can enter and leave."""

    def entered(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Apply the change to every forward pass inside."""
        ...


@contextmanager
def intervening(model: PreTrainedModel, *interventions: Intervention) -> Iterator[None]:
    """Apply every intervention to the forward passes inside; afterwards the model is as before."""
    with ExitStack() as stack:
        for intervention in interventions:
            stack.enter_context(intervention.entered(model))
        yield


@dataclass(frozen=True)
class ZeroDims:
    """Take channels of queries and keys out of q k^T as attended: after QK-norm and rotation, for every key in a cache.

    q_i . k_j = sum over channels d that are zeroed in neither: the term of any other is 0 whatever the other side is.
    So the query is set to 0 for both, and a cache of keys, which is the larger by far, is not copied at every step. A
    key that is infinite there gives NaN: no number, not a wrong one. What a later intervention puts into such a key is
    without effect, too.
    Masks are per row of the batch (or one for all): rows can hold the same text under different conditions.
    """

    query: Bool[Tensor, "#batch layer head dim"]
    key: Bool[Tensor, "#batch layer kv_head dim"]

    def entered(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Apply the change to every forward pass inside."""
        layers = {id(block.attention): block.layer for block in blocks_of(model)}
        groups = self.query.shape[2] // self.key.shape[2]
        without = self.query | self.key.repeat_interleave(groups, 2)

        def edit(attended: Attended) -> Attended:
            absent = without[:, layers[id(attended.module)], :, None].to(attended.query.device)
            return replace(attended, query=attended.query.masked_fill(absent, 0))

        return attending(model, editors=[edit])
