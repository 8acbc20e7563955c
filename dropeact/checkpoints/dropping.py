"""The same weights in another model: the rotation dropped, bypassed, or restored; nothing is copied or trained."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from dropeact.axes import InputError
from dropeact.checkpoints.drope import LlamaDropeConfig, LlamaDropeForCausalLM
from dropeact.checkpoints.source import ATTENTION_TYPES


def drope_config(
    config: LlamaConfig, *, attention_type: str = "nope", softmax_scale: float | None = None
) -> LlamaDropeConfig:
    """Carry a Llama config over to its DroPE form.

    Raises
    ------
    InputError
        When the attention type is unknown or the config is not a plain Llama's.
    """
    if attention_type not in ATTENTION_TYPES:
        raise InputError(f"expected an attention type among {', '.join(ATTENTION_TYPES)}; got {attention_type}")
    if config.model_type != "llama":
        raise InputError(
            f"expected a Llama with rotation to drop; got model type {config.model_type}; only llama is converted"
        )
    fields = config.to_dict()
    for name in ("model_type", "architectures", "transformers_version", "quantization_config"):
        fields.pop(name, None)
    return LlamaDropeConfig(**fields, attention_type=attention_type, softmax_scale=softmax_scale)


def _with_weights_of(model: LlamaForCausalLM, config: LlamaConfig, kind: type[LlamaForCausalLM]) -> LlamaForCausalLM:
    """Build `kind` around the same tensors (no copy); QK-norm weights that the source lacks start at 1."""
    config._attn_implementation = model.config._attn_implementation
    weights = dict(model.state_dict())
    with torch.device("meta"):
        built = kind(config)
    for name, tensor in built.state_dict().items():
        if name not in weights:
            if not name.endswith(("q_norm.weight", "k_norm.weight")):
                raise InputError(
                    f"expected the weights of a plain {config.model_type}; got none for {name}; copy them again"
                )
            reference = weights["model.norm.weight"]
            weights[name] = torch.ones(tensor.shape, dtype=reference.dtype, device=reference.device)
    built.load_state_dict({name: weights[name] for name in built.state_dict()}, strict=True, assign=True)
    built.tie_weights()
    built.model.rotary_emb = model.model.rotary_emb
    built.generation_config = model.generation_config
    built.requires_grad_(False)
    return built.train(model.training)


def dropped(model: Any, *, attention_type: str = "nope", softmax_scale: float | None = None) -> LlamaForCausalLM:
    """Return the same weights (shared, not copied) in a model that does not rotate."""
    config = drope_config(model.config, attention_type=attention_type, softmax_scale=softmax_scale)
    return _with_weights_of(model, config, LlamaDropeForCausalLM)


class IdentityRotation(nn.Module):
    """A rotary embedding whose angles are all 0, shaped like the one it stands for: cos = 1, sin = 0."""

    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        self.rotary = rotary

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The cosines (1) and sines (0) of no rotation, in the shape that the rotation would have."""
        cos, sin = self.rotary(*args, **kwargs)
        return torch.ones_like(cos), torch.zeros_like(sin)


def unrotated(model: PreTrainedModel) -> PreTrainedModel:
    """Return the same weights (shared, not copied) of any architecture with every rotary embedding the identity.

    For measuring alone: what is saved would rotate again.

    Raises
    ------
    InputError
        When no module of the model rotates.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    built = copy.deepcopy(model, shared)
    rotating = [name for name, module in built.named_modules() if type(module).__name__.endswith("RotaryEmbedding")]
    if not rotating:
        raise InputError(f"expected a model with rotary embeddings; got {model.config.model_type}, which has none")
    for name in rotating:
        built.set_submodule(name, IdentityRotation(built.get_submodule(name)))
    return built


def restored(model: Any) -> LlamaForCausalLM:
    """Return the same weights (shared, not copied) in a Llama that rotates as `rope_parameters` say."""
    fields = model.config.to_dict()
    for name in ("model_type", "architectures", "transformers_version", "attention_type", "softmax_scale"):
        fields.pop(name, None)
    return _with_weights_of(model, LlamaConfig(**fields), LlamaForCausalLM)
