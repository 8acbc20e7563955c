"""A model -> where its decoder blocks keep attention, MLP and projections; unknown ones are refused by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from dropeact.axes import InputError

TensorName = Literal["query", "key", "value"]


@dataclass(frozen=True)
class Separate:
    """Queries, keys and values each have a projection of their own, head after head."""

    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"

    @property
    def modules(self) -> tuple[str, ...]:
        """The projections to listen to."""
        return (self.query, self.key, self.value)

    def heads(
        self, module: str, projected: Float[Tensor, "batch token width"], head_dim: int
    ) -> Iterator[tuple[TensorName, Float[Tensor, "batch token head head_dim"]]]:
        """Split what one projection gives into heads, and say which tensor they belong to."""
        names: dict[str, TensorName] = {self.query: "query", self.key: "key", self.value: "value"}
        yield names[module], projected.unflatten(-1, (-1, head_dim))


@dataclass(frozen=True)
class Architecture:
    """Names of the parts of a decoder: dotted from the model, then inside a block.

    `contributions` are the modules whose outputs are added to the residual stream: attention's, then the MLP's.
    """

    blocks: str = "model.layers"
    attention: str = "self_attn"
    mlp: str = "mlp"
    projections: Separate = Separate()
    contributions: tuple[str, str] = ("self_attn", "mlp")


KNOWN = {name: Architecture() for name in ("llama", "llama_drope")}


@dataclass(frozen=True)
class Block:
    """One decoder block of a model and its parts."""

    layer: int
    module: nn.Module
    attention: nn.Module
    mlp: nn.Module
    projections: dict[str, nn.Module]
    contributions: tuple[nn.Module, nn.Module]


def architecture_of(model: PreTrainedModel) -> Architecture:
    """Look up how a model is built.

    Raises
    ------
    InputError
        When the architecture is not one that the probes are tested on.
    """
    name = model.config.model_type
    if name not in KNOWN:
        raise InputError(
            f"expected an architecture that can be probed ({', '.join(KNOWN)}); got {name}; choose another checkpoint"
        )
    return KNOWN[name]


def blocks_of(model: PreTrainedModel) -> tuple[Block, ...]:
    """List the decoder blocks of a model in order."""
    architecture = architecture_of(model)
    modules = model.get_submodule(architecture.blocks)
    assert isinstance(modules, nn.ModuleList)
    return tuple(_block(layer, module, architecture) for layer, module in enumerate(modules))


def _block(layer: int, module: nn.Module, architecture: Architecture) -> Block:
    attention = module.get_submodule(architecture.attention)
    projections = {name: attention.get_submodule(name) for name in architecture.projections.modules}
    contributions = [module.get_submodule(name) for name in architecture.contributions]
    mlp = module.get_submodule(architecture.mlp)
    return Block(layer, module, attention, mlp, projections, (contributions[0], contributions[1]))


def head_dim(config: PretrainedConfig) -> int:
    """Channels of one head: as configured, or the hidden size shared out over the heads."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
