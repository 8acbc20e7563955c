"""Identifier -> what the checkpoint is (hash, revision, rotation, quantisation, adapter) in JSON-able fields."""

import hashlib
import json
from pathlib import Path

from dropeact.axes import InputError
from dropeact.checkpoints import embedded, gguf, hub
from dropeact.checkpoints.cache import sha256_of
from dropeact.checkpoints.source import (
    ADAPTER,
    ATTENTION_TYPES,
    RECIPE,
    TOKENIZERS,
    WEIGHTS,
    Source,
    check_architecture,
    checked_config,
    recipe_of,
    source,
)

SETTINGS = (
    "config.json",
    "generation_config.json",
    *TOKENIZERS,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def resolve(identifier: str) -> dict:
    """Return a checkpoint's identity without building the model: id, revision, sha256, architecture, attention ...

    sha256 = the GGUF file's own hash, or the hash over (name, sha256) of the weight files in order of name; an
    adapter's hash is hashed in. A local folder has `settings` too: the same over its config and its tokenizer, which
    can be edited beside the weights; on the hub the commit (`revision`) names them. A DroPE model's `softmax_scale` is
    there where it has one of its own.

    Raises
    ------
    InputError
        When the checkpoint is missing or cannot be used.
    """
    found = source(identifier)
    return {"embedded": _embedded, "adapter": _adapter, "gguf": _gguf, "folder": _folder, "hub": _hub}[found.kind](
        found
    )


def combined(hashes: dict[str, str]) -> str:
    """Hash named hashes into one, independent of their order."""
    return hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()


def attention_of(config: dict) -> str:
    """Name how a config's attention treats positions: `rope`, or one of the DroPE attention types."""
    if config["model_type"] == "smollm3":
        layers = config.get("no_rope_layers") or [1]
        return "rope" if all(layers) else "nope" if not any(layers) else "rope in some layers"
    return config.get("attention_type", "nope") if config["model_type"].endswith("_drope") else "rope"


def _identity(found: Source, config: dict, **fields: object) -> dict:
    attention = attention_of(config)
    known = {
        "id": found.identifier,
        "revision": found.revision,
        "sha256": None,
        "architecture": config["model_type"],
        "attention": attention,
        "rope": attention != "nope" and not attention.endswith("_nope"),
        "quantization": (config.get("quantization_config") or {}).get("quant_method"),
        "adapter": None,
        "dropped": False,
    }
    if config["model_type"].endswith("_drope") and (scale := config.get("softmax_scale")) is not None:
        known["softmax_scale"] = scale
    return known | fields


def _embedded(found: Source) -> dict:
    quantization = f"GGUF {embedded.QUANTIZATION}, dequantised to float32"
    known = {"revision": embedded.WHEEL, "sha256": embedded.GGUF_SHA256, "quantization": quantization}
    return _identity(found, {"model_type": "llama"}, **known)


def _adapter(found: Source) -> dict:
    """Identify a parent with an adapter: one hash over both; refuse another parent than the adapter was made from."""
    folder = Path(found.place)
    recipe = recipe_of(folder)
    parent = resolve(recipe["source"]["id"])
    if parent["sha256"] != recipe["source"]["sha256"]:
        raise InputError(f"expected the source that {folder} was made from; got other weights at {parent['id']}")
    attention = recipe.get("attention")
    if attention not in ("rope", *ATTENTION_TYPES):
        raise InputError(
            f"expected attention among rope, {', '.join(ATTENTION_TYPES)}; got {attention} in {folder / RECIPE}; "
            "copy it again"
        )
    adapter = {"sha256": sha256_of(folder / ADAPTER), "tokens": recipe["tokens"], "objective": recipe.get("objective")}
    sha256 = combined({"parent": parent["sha256"], "adapter": adapter["sha256"]})
    kind = "llama" if attention == "rope" else "llama_drope"
    config = {"model_type": kind, "attention_type": attention, "softmax_scale": softmax_scale_of(recipe)}
    known = {name: parent[name] for name in ("revision", "quantization", "settings") if name in parent}
    return _identity(found, config, sha256=sha256, adapter=adapter, **known)


def softmax_scale_of(recipe: dict) -> float | None:
    """The softmax scale that an adapter was trained with, where it is not the architecture's."""
    return (recipe.get("options") or {}).get("softmax_scale")


def _gguf(found: Source) -> dict:
    file = Path(found.place)
    kind = gguf.architecture(file)
    quantization = f"GGUF {gguf.quantization(file)}, dequantised to float32"
    return _identity(found, {"model_type": kind}, sha256=sha256_of(file), quantization=quantization)


def _folder(found: Source) -> dict:
    folder = Path(found.place)
    config = checked_config(folder)
    weights, settings = ({path.name: sha256_of(path) for path in files} for files in _files(folder))
    return _identity(found, config, sha256=combined(weights), settings=combined(settings), adapter=_recipe(folder))


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files of the weights, and those beside them that change what the model computes or which tokens it reads."""
    return sorted(folder.glob(WEIGHTS)), [folder / name for name in SETTINGS if (folder / name).is_file()]


def _recipe(folder: Path) -> dict | None:
    """Return what a folder made by `dropeact recalibrate` says of its making."""
    file = folder / RECIPE
    if not file.is_file():
        return None
    try:
        recipe = json.loads(file.read_text("utf-8"))
        return {name: recipe.get(name) for name in ("tokens", "objective")}
    except (ValueError, AttributeError):
        raise InputError(
            f"expected a JSON object in {file}; got a damaged file; copy it again, or move it away"
        ) from None


def _hub(found: Source) -> dict:
    commit, config, weights = hub.listing(found.place, found.revision)
    check_architecture(config, found.identifier)
    if not weights:
        raise InputError(f"expected safetensors weights in {found.place}; got none (pickles are not loaded)")
    return _identity(found, config, revision=commit, sha256=combined(weights))
