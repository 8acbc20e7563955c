"""Tiny random models of the supported architectures, and the plainest possible computation of what they attend to."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from dropeact.checkpoints.dropping import dropped

VOCABULARY = 97
HEADS = {"mha": 4, "gqa": 2, "mqa": 1}
KINDS = [f"{heads}-{rotation}" for heads in HEADS for rotation in ("rope", "nope")]


def llama(kind: str = "gqa-rope", *, layers: int = 3, gain: float = 10.0, seed: int = 0, **options) -> LlamaForCausalLM:
    """A random Llama: `mha`, `gqa` or `mqa` heads, with (`rope`) or without (`nope`) rotation; sharp attention."""
    heads, rotation = kind.split("-")
    fields = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "head_dim": 8, **options}
    config = LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, num_key_value_heads=HEADS[heads], **fields)
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for (
        name,
        weight,
    ) in model.named_parameters():  # attention of freshly drawn weights is uniform: nothing to tell apart
        if name.endswith("proj.weight"):
            weight.mul_(gain)
    built = model if rotation == "rope" else dropped(model)
    assert isinstance(built, LlamaForCausalLM)
    return built


SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
GROUPED: dict[str, Any] = SHAPE | {"num_key_value_heads": 2}
PARTIAL: dict[str, Any] = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**GROUPED, head_dim=8),
    "mistral": lambda: MistralConfig(**GROUPED, head_dim=8, sliding_window=12),
    "qwen2": lambda: Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=12, max_window_layers=1),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "gemma2": lambda: Gemma2Config(
        **GROUPED, head_dim=8, query_pre_attn_scalar=5, attn_logit_softcapping=2.0, sliding_window=12
    ),
    "gemma3": lambda: Gemma3TextConfig(**GROUPED, head_dim=8, query_pre_attn_scalar=5, sliding_window=12),
    "phi3": lambda: Phi3Config(**GROUPED, rope_parameters=PARTIAL, sliding_window=None),
    "olmo2": lambda: Olmo2Config(**GROUPED),
    "gpt_neox": lambda: GPTNeoXConfig(**SHAPE, rope_parameters=PARTIAL),
    "smollm3": lambda: SmolLM3Config(**GROUPED, no_rope_layers=[1, 0, 1]),
}


def of(architecture: str, *, gain: float = 10.0, seed: int = 0) -> PreTrainedModel:
    """A random model of an architecture: sharp attention, biases that are not 0 and norm weights that are not 1."""
    config = ARCHITECTURES[architecture]()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith(("proj.weight", "query_key_value.weight", "dense.weight")):
            parameter.mul_(gain)
        elif name.endswith(".bias"):
            parameter.normal_(0, 0.1)
        elif "norm" in name:
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


STANDING_OUT = (0, 3, 6)  # of 8 channels: a fast pair, a slow one, and one that partial rotation leaves as it is


def standing_out(architecture: str) -> PreTrainedModel:
    """The same model with a massive Query and Key channel in the first head of each layer, or in every head."""
    model = of(architecture)
    for name, parameter in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "qkv_proj.weight", "query_key_value.weight")):
            channel = STANDING_OUT[int(name.split("layers.")[1].split(".")[0])]
            key = {"qkv_proj": 32, "query_key_value": 8}.get(name.split(".")[-2], 0)  # where keys begin in joined rows
            parameter[sorted({channel, channel + key})] *= 30
        elif name.endswith(("q_norm.weight", "k_norm.weight")):
            parameter[STANDING_OUT[int(name.split("layers.")[1].split(".")[0])]] += 30
    return model


def weight(model: PreTrainedModel, layer: int, name: str) -> Tensor:
    """The weight of one module of a block, to be written to: `self_attn.q_proj`, `mlp.down_proj`."""
    return model.get_parameter(f"model.layers.{layer}.{name}.weight")


def tokens(texts: int = 2, length: int = 40, *, seed: int = 1) -> Tensor:
    """Random token ids, [text, length]."""
    return torch.randint(0, VOCABULARY, (texts, length), generator=torch.Generator().manual_seed(seed))


def eager_attention(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Attention weights by the model's own eager code, [layer, batch, head, query, key]."""
    with implementation(model, "eager"), torch.no_grad():
        return torch.stack(model(ids, use_cache=False, output_attentions=True).attentions)


@contextmanager
def implementation(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Use another attention implementation for a while."""
    before = model.config._attn_implementation or "eager"
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def rows_entropy(attention: Tensor) -> Tensor:
    """Entropy in nats of every row: -sum_j a_j ln a_j, 0 ln 0 = 0, in float64."""
    return torch.special.entr(attention.double()).sum(-1)


def causal_uniform(length: int) -> Tensor:
    """Uniform causal attention, [query, key]."""
    return torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]


def harmonic(n: int) -> float:
    """1 + 1/2 + ... + 1/n."""
    return math.fsum(1 / i for i in range(1, n + 1))
