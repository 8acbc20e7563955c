"""A checkpoint's config without its weights: how large a model is, before anything is downloaded but that file."""

import json
from pathlib import Path
from typing import Any

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
    config = config_of(identifier)
    return config["num_hidden_layers"] * parameters_per_layer(config) + embedding_parameters(config)


def parameters_per_layer(config: dict[str, Any]) -> int:
    """Projections and MLP of one layer."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    kv_heads = config.get("num_key_value_heads") or heads
    return 2 * hidden * head_dim * (heads + kv_heads) + 3 * hidden * config["intermediate_size"]


def embedding_parameters(config: dict[str, Any]) -> int:
    """The table of the tokens, twice where the head has one of its own."""
    return config["vocab_size"] * config["hidden_size"] * (1 if config.get("tie_word_embeddings") else 2)
