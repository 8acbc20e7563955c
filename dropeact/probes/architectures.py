"""A model -> where its decoder blocks keep attention, MLP and projections; unknown ones are refused by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

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
class Fused:
    """One projection gives all queries, then all keys, then all values, each head after head."""

    query_heads: int
    kv_heads: int
    name: str = "qkv_proj"

    @property
    def modules(self) -> tuple[str, ...]:
        """The projection to listen to."""
        return (self.name,)

    def heads(
        self, module: str, projected: Float[Tensor, "batch token width"], head_dim: int
    ) -> Iterator[tuple[TensorName, Float[Tensor, "batch token head head_dim"]]]:
        """Split what the projection gives into heads of each tensor."""
        counts = (self.query_heads, self.kv_heads, self.kv_heads)
        parts = projected.split([count * head_dim for count in counts], dim=-1)
        for name, part in zip(get_args(TensorName), parts, strict=True):
            yield name, part.unflatten(-1, (-1, head_dim))


@dataclass(frozen=True)
class Interleaved:
    """One projection gives query, key and value of the first head, then those of the next."""

    name: str = "query_key_value"

    @property
    def modules(self) -> tuple[str, ...]:
        """The projection to listen to."""
        return (self.name,)

    def heads(
        self, module: str, projected: Float[Tensor, "batch token width"], head_dim: int
    ) -> Iterator[tuple[TensorName, Float[Tensor, "batch token head head_dim"]]]:
        """Split what the projection gives into heads of each tensor."""
        parts = projected.unflatten(-1, (-1, 3 * head_dim)).chunk(3, dim=-1)
        yield from zip(get_args(TensorName), parts, strict=True)


@dataclass(frozen=True)
class Architecture:
    """Names of the parts of a decoder: dotted from the model, then inside a block.

    `contributions` are the modules whose outputs are added to the residual stream: attention's, then the MLP's; where a
    norm follows them, that norm.
    """

    blocks: str = "model.layers"
    attention: str = "self_attn"
    mlp: str = "mlp"
    projections: Separate | Fused | Interleaved = Separate()
    contributions: tuple[str, str] = ("self_attn", "mlp")


PLAIN = Architecture()
NORMED_AFTER = Architecture(contributions=("post_attention_layernorm", "post_feedforward_layernorm"))
NEOX = Architecture(
    blocks="gpt_neox.layers", attention="attention", projections=Interleaved(), contributions=("attention", "mlp")
)
SAME_NAMES = ("llama", "llama_drope", "mistral", "qwen2", "qwen2_drope", "qwen3", "smollm3")
KNOWN: dict[str, Callable[[PretrainedConfig], Architecture]] = {
    **{name: lambda _: PLAIN for name in SAME_NAMES},
    **{name: lambda _: NORMED_AFTER for name in ("gemma2", "gemma3_text", "olmo2")},
    "phi3": lambda config: Architecture(projections=Fused(config.num_attention_heads, config.num_key_value_heads)),
    "gpt_neox": lambda _: NEOX,
}


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
    return KNOWN[name](model.config)


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
