"""A checkpoint's config without its weights: how large a model is, before anything is downloaded but that file."""

import json
from pathlib import Path
from typing import Any

from dropeact.axes import InputError
from dropeact.checkpoints import gguf
from dropeact.checkpoints.source import read_config, recipe_of, source

SMOLLM2_SHAPE = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
COUNTS = (*(key for key in SMOLLM2_SHAPE if key != "tie_word_embeddings"), "head_dim")


def config_of(identifier: str) -> dict[str, Any]:
    """The config of a checkpoint as a dict, or what of it a GGUF file's header says; an adapter's is its parent's."""
    found = source(identifier)
    if found.kind == "adapter":
        return config_of(recipe_of(Path(found.place))["source"]["id"])
    if found.kind == "gguf":
        return gguf.shape(Path(found.place))
    if found.kind == "folder":
        return read_config(Path(found.place))
    if found.kind == "hub":
        from huggingface_hub import hf_hub_download

        return json.loads(Path(hf_hub_download(found.place, "config.json", revision=found.revision)).read_text())
    return SMOLLM2_SHAPE  # embedded


def parameters(identifier: str) -> int:
    """Parameters of a Llama-shaped checkpoint from its config: embeddings once, projections and MLP of every layer."""
    config = _counted(config_of(identifier), identifier)
    return config["num_hidden_layers"] * parameters_per_layer(config) + embedding_parameters(config)


def parameters_per_layer(config: dict[str, Any]) -> int:
    """Projections and MLP of one layer."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    return 2 * hidden * _head_dim(config) * (heads + kv_heads) + 3 * hidden * config["intermediate_size"]


def embedding_parameters(config: dict[str, Any]) -> int:
    """The table of the tokens, twice where the head has one of its own."""
    return config["vocab_size"] * config["hidden_size"] * (1 if config.get("tie_word_embeddings") else 2)


def attention_per_token(identifier: str) -> float:
    """FLOPs of attention / FLOPs of the weights in a causal text, per token of its length: L H d / N.

    A token meets T / 2 keys of T: 4 (T / 2) L H d FLOPs for scores and weighted values, beside 2 N for the weights.
    """
    config = _counted(config_of(identifier), identifier)
    return config["num_hidden_layers"] * config["num_attention_heads"] * _head_dim(config) / parameters(identifier)


def cached_numbers(identifier: str, tokens: int) -> int:
    """Keys and values of a text, of every layer: 2 T L K d numbers."""
    config = _counted(config_of(identifier), identifier)
    kv_heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    return 2 * tokens * config["num_hidden_layers"] * kv_heads * _head_dim(config)


def _counted(config: dict[str, Any], identifier: str) -> dict[str, Any]:
    """The config, refused where what a size is worked out from is no count; what another kind of model lacks may lack.

    Raises
    ------
    InputError
        Naming the first such field.
    """
    for key in COUNTS:
        value = config.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InputError(
                f"expected a whole number from 1 as {key} in config.json of {identifier}; got {value!r}; correct it"
            )
    return config


def _head_dim(config: dict[str, Any]) -> int:
    """Channels of one head: as the config says, else its share of the hidden ones."""
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
