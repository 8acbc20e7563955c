"""Identifier -> where the checkpoint lies and whether it can be used; every refusal is one line. No torch.

An identifier is `embedded:NAME`, a local folder with safetensors (or with an adapter and its recipe), a GGUF file, or a
Hugging Face id (`ID@revision`).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dropeact.axes import InputError
from dropeact.checkpoints import embedded

SUPPORTED = (
    "llama", "llama_drope", "mistral", "qwen2", "qwen2_drope", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2",
    "gpt_neox", "smollm3",
)  # fmt: skip
WEIGHTS = "*.safetensors"
FILES = [WEIGHTS, "*.json", "*.model", "*.jinja", "tokenizer*"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
ADAPTER = "adapter.safetensors"
RECIPE = "recipe.json"
PEFT = "adapter_config.json"
AttentionType = Literal["nope", "qk_norm_nope", "q_norm_nope", "k_norm_nope"]
ATTENTION_TYPES: tuple[AttentionType, ...] = get_args(AttentionType)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """Where a checkpoint comes from: the identifier as given, its kind, and the path or hub id with the revision."""

    identifier: str
    kind: Literal["embedded", "adapter", "gguf", "folder", "hub"]
    place: str
    revision: str | None = None


def source(identifier: str) -> Source:
    """Read an identifier.

    Raises
    ------
    InputError
        When it names nothing that could be a checkpoint.
    """
    if identifier.startswith("embedded:"):
        return _embedded(identifier)
    path = Path(identifier).expanduser()
    if path.is_dir():
        alone = (path / ADAPTER).is_file() and not (path / "config.json").is_file()
        return Source(identifier, "adapter" if alone else "folder", str(path))
    if path.is_file():
        return Source(identifier, "gguf", str(_gguf_file(path)))
    name, _, revision = identifier.partition("@")
    if HUB_ID.fullmatch(name) and not identifier.endswith(".gguf"):
        return Source(identifier, "hub", name, revision or None)
    raise InputError(
        f"expected a checkpoint folder, GGUF file, hub id or embedded:NAME; got {identifier}, which does not exist; "
        "check the path"
    )


def _embedded(identifier: str) -> Source:
    name = identifier.removeprefix("embedded:")
    if name == embedded.ROPE:
        return Source(identifier, "embedded", name)
    if name == embedded.DROPE:
        return Source(identifier, "adapter", str(embedded.adapter_folder()))
    raise InputError(f"expected embedded:{embedded.ROPE} or embedded:{embedded.DROPE}; got {identifier}")


def recipe_of(folder: Path) -> dict:
    """Read how an adapter was made.

    Raises
    ------
    InputError
        When its recipe is missing or damaged, or names no source or no tokens.
    """
    file = folder / RECIPE
    try:
        recipe = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        if {"id", "sha256"} <= set(recipe["source"]) and isinstance(recipe["tokens"], int):
            return recipe
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"expected {RECIPE} beside {ADAPTER} in {folder}, naming source and tokens; got none; copy it there"
    )


def _gguf_file(path: Path) -> Path:
    with path.open("rb") as file:
        if file.read(4) == b"GGUF":
            return path
    raise InputError(
        f"expected a checkpoint folder or a GGUF file; got the file {path}, which is no GGUF; name its folder"
    )


def checked_config(folder: Path) -> dict:
    """Return a checkpoint folder's config after every check that needs no weights.

    Raises
    ------
    InputError
        When the config or tokenizer is missing, code would have to be run, the weights are pickles or missing or have
        a PEFT adapter beside them, or the architecture is not supported.
    """
    config = read_config(folder)
    check_architecture(config, str(folder))
    check_alone({file.name for file in folder.glob(PEFT)}, str(folder))
    weights = sorted(folder.glob(WEIGHTS))
    if broken := [file for file in weights if not file.is_file()]:
        raise InputError(f"expected weights at {broken[0]}; got no file there, or a broken link; copy it again")
    if not weights:
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        found = f"only pickles ({pickles[0]}), which can run code" if pickles else "no weights"
        raise InputError(f"expected safetensors weights in {folder}; got {found}; save it with save_pretrained()")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise InputError(f"expected a tokenizer ({' or '.join(TOKENIZERS[:2])}) in {folder}; got none; copy it there")
    return config


def check_alone(names: set[str], place: str) -> None:
    """Refuse a PEFT adapter among a checkpoint's files: transformers would put it into the model on load.

    Raises
    ------
    InputError
        When its config is there.
    """
    if PEFT in names:
        raise InputError(
            f"expected a checkpoint without a PEFT adapter; got {PEFT} in {place}; merge it into the weights and save "
            "those, or move it away"
        )


def check_architecture(config: dict, place: str) -> None:
    """Refuse a config whose model is not one that is measured.

    Raises
    ------
    InputError
        When code would have to be run, or the architecture or its attention type is not supported.
    """
    kind = config.get("model_type")
    if kind in SUPPORTED:
        _check_fields(config, kind, place)
        return
    if "auto_map" in config:
        raise InputError(
            f"expected a checkpoint without code of its own; {place} needs remote code (auto_map), which "
            f"is never run; export it as one of {', '.join(SUPPORTED)}"
        )
    if "text_config" in config:
        raise InputError(
            f"expected a text model among {', '.join(SUPPORTED)}; got {kind} in {place}, a text model within another; "
            "save its language model alone"
        )
    raise InputError(
        f"expected an architecture among {', '.join(SUPPORTED)}; got {kind} in {place}; choose another checkpoint"
    )


def _check_fields(config: dict, kind: str, place: str) -> None:
    """Refuse an attention type that is not known, a quantisation that says nothing, and heads without keys."""
    attention = config.get("attention_type", "nope")
    if kind.endswith("_drope") and attention not in ATTENTION_TYPES:
        raise InputError(
            f"expected attention_type among {', '.join(ATTENTION_TYPES)}; got {attention} in {place}; correct it"
        )
    heads, kv_heads = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(kv_heads, int) and kv_heads > 0 and heads % kv_heads:
        raise InputError(
            f"expected key/value heads that divide the {heads} heads; got num_key_value_heads = {kv_heads} in {place}; "
            "correct the config"
        )
    if not isinstance(quantization := config.get("quantization_config") or {}, dict):
        raise InputError(
            f"expected a JSON object as quantization_config; got {quantization!r} in {place}; correct the config"
        )


def read_config(folder: Path) -> dict:
    """Read config.json.

    Raises
    ------
    InputError
        When it is missing or no JSON object, or there is a PEFT adapter in its place.
    """
    file = folder / "config.json"
    if not file.is_file():
        check_alone({file.name for file in folder.glob(PEFT)}, str(folder))
        raise InputError(f"expected config.json in {folder}; got none; name the folder that save_pretrained() wrote")
    try:
        config = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"expected JSON in {file}; got {error}; copy the file again") from error
    if not isinstance(config, dict):
        raise InputError(f"expected a JSON object in {file}; got a {type(config).__name__}; copy the file again")
    return config
