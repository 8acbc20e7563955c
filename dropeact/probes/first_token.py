"""The first token without the MLP of one layer, or without its value vectors: values that a model can enter."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from transformers import PreTrainedModel

from dropeact.probes.ablations import DropOutputs
from dropeact.probes.edits import Call, Heads, editing_projections


@dataclass(frozen=True)
class DropFirstMlp:
    """x_0 after block `layer` is x_0 + attention(x_0), without the MLP; every other token keeps its own.

    The first token is the one at absolute position 0: see `DropOutputs`.

    References
    ----------
    Queipo-de-Llano et al. (2025), ablation of the MLP contribution to the first token; arXiv:2510.06477.
    """

    layer: int

    def entered(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Apply the change to every forward pass inside."""
        return DropOutputs(self.layer, ("mlp",), "first").entered(model)


@dataclass(frozen=True)
class ZeroFirstValue:
    """Set the first token's value vectors to 0 in some layers, or in all: attending to it then adds nothing.

    v_0 = 0 as projected, at absolute position 0. What attention gives the first token itself is 0 there, too.

    References
    ----------
    Africa (2026), experiment 5.
    """

    layers: tuple[int, ...] | None = None

    @contextmanager
    def entered(self, model: PreTrainedModel) -> Iterator[None]:
        """Apply the change to every forward pass inside.

        Raises
        ------
        InputError
            When the model has no such layer, or does not tell its blocks the positions of the tokens.
        """

        def edit(call: Call, heads: Heads) -> Heads:
            if call.tensor != "value":
                return heads
            return heads.masked_fill((call.positions == 0)[..., None, None], 0)

        with editing_projections(model, self.layers, edit):
            yield
