"""Models whose attention never rotates: RoPE weights go in, a NoPE model that transformers loads by itself comes out.

Queries and keys reach the attention function as projected (or normed, if the checkpoint has QK-norm); positions exist
only through the causal mask. `rope_parameters` stay in the config, so that the rotation can be restored.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm, eager_attention_forward
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from dropeact.checkpoints.source import AttentionType

NORM_TYPES: dict[str | None, AttentionType] = {
    None: "nope",
    "q": "q_norm_nope",
    "k": "k_norm_nope",
    "qk": "qk_norm_nope",
}


class LlamaDropeConfig(LlamaConfig):
    """A Llama config with the attention type (which of query and key are normed) and an absolute softmax scale."""

    model_type = "llama_drope"
    attention_type: str = "nope"
    softmax_scale: float | None = None


class Qwen2DropeConfig(Qwen2Config):
    """A Qwen2 config with the attention type and an absolute softmax scale."""

    model_type = "qwen2_drope"
    attention_type: str = "nope"
    softmax_scale: float | None = None


class Unrotated:
    """What the attention of a DroPE model does, whatever projections it has.

    q = norm(x Wq), k = norm(x Wk), each norm one RMSNorm over the full concatenated width or nothing;
    weights = softmax(softmax_scale q k^T), softmax_scale = head_dim^-1/2 where the config gives none.

    References
    ----------
    The DroPE models' `nope` and `*_norm_nope` attention types; arXiv:2512.12167.
    """

    def __init__(self, config: Any, layer_idx: int):
        super().__init__(config, layer_idx)  # pyright: ignore[reportCallIssue] - mixed into an attention class
        given: Any = self
        if config.softmax_scale is not None:
            given.scaling = config.softmax_scale
        if config.attention_type in ("qk_norm_nope", "q_norm_nope"):
            given.q_norm = LlamaRMSNorm(given.q_proj.out_features, eps=config.rms_norm_eps)
        if config.attention_type in ("qk_norm_nope", "k_norm_nope"):
            given.k_norm = LlamaRMSNorm(given.k_proj.out_features, eps=config.rms_norm_eps)

    def forward(
        self: Any,
        hidden_states: Float[Tensor, "batch token hidden"],
        position_embeddings: object = None,
        attention_mask: Tensor | None = None,
        past_key_values=None,
        cache=None,
        **kwargs,
    ) -> tuple[Tensor, Any]:
        """Attend without positions: `position_embeddings` is ignored; `cache` is transformers 5.24's name."""
        query = self.q_proj(hidden_states)
        key = self.k_proj(hidden_states)
        if hasattr(self, "q_norm"):
            query = self.q_norm(query)
        if hasattr(self, "k_norm"):
            key = self.k_norm(key)
        query, key, value = (_heads(x, self.head_dim) for x in (query, key, self.v_proj(hidden_states)))
        if (held := past_key_values if cache is None else cache) is not None:
            key, value = held.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation or "eager", eager_attention_forward
        )
        dropout = self.attention_dropout if self.training else 0.0
        options = {"dropout": dropout, "scaling": self.scaling} | kwargs
        if getattr(self, "sliding_window", None) is not None:
            options["sliding_window"] = self.sliding_window
        output, weights = attend(self, query, key, value, attention_mask, **options)
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1).contiguous()), weights


def _heads(projected: Float[Tensor, "batch token width"], head_dim: int) -> Float[Tensor, "batch head token head_dim"]:
    """Split the width into heads."""
    return projected.view(*projected.shape[:-1], -1, head_dim).transpose(1, 2)


class LlamaDropeAttention(Unrotated, LlamaAttention):
    """Llama's attention of unrotated queries and keys."""


class Qwen2DropeAttention(Unrotated, Qwen2Attention):
    """Qwen2's attention (biased projections) of unrotated queries and keys."""


class LlamaDropeForCausalLM(LlamaForCausalLM):
    """LlamaForCausalLM with `LlamaDropeAttention` in every block; its state dict is a Llama's (plus QK norms)."""

    config_class = LlamaDropeConfig

    def __init__(self, config: LlamaDropeConfig):
        super().__init__(config)
        for index, block in enumerate(self.model.layers):
            block.self_attn = LlamaDropeAttention(config, index)
        self.post_init()


class Qwen2DropeForCausalLM(Qwen2ForCausalLM):
    """Qwen2ForCausalLM with `Qwen2DropeAttention` in every block; its state dict is a Qwen2's (plus QK norms)."""

    config_class = Qwen2DropeConfig

    def __init__(self, config: Qwen2DropeConfig):
        super().__init__(config)
        for index, block in enumerate(self.model.layers):
            block.self_attn = Qwen2DropeAttention(config, index)
        self.post_init()


AutoConfig.register("qwen2_drope", Qwen2DropeConfig)
AutoModelForCausalLM.register(Qwen2DropeConfig, Qwen2DropeForCausalLM)
AutoConfig.register("llama_drope", LlamaDropeConfig)
AutoModelForCausalLM.register(LlamaDropeConfig, LlamaDropeForCausalLM)
