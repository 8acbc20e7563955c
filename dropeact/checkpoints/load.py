"""Identifier -> a model that runs, its tokenizer and its identity; and the same weights just dropped."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, embedded, gguf, hub
from dropeact.checkpoints.dropping import dropped, unrotated
from dropeact.checkpoints.identity import resolve, softmax_scale_of
from dropeact.checkpoints.products import by_onednn
from dropeact.checkpoints.source import Source, checked_config, recipe_of, source
from dropeact.checkpoints.weights import check_forward, is_spread, model_in, quiet, reason

__all__ = ["Checkpoint", "check_device", "check_forward", "dense", "drop", "load", "resolve", "tokenizer_in"]


@dataclass(frozen=True)
class Checkpoint:
    """A model in evaluation mode without gradients, its tokenizer, and its JSON-able identity."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    identity: dict

    def __post_init__(self) -> None:
        """Let it multiply as fast as this machine can."""
        by_onednn(self.model)


def load(
    identifier: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    attention: str | None = None,
) -> Checkpoint:
    """Load a checkpoint of a supported architecture.

    `device="auto"` spreads a model over the devices at hand; `attention` names an implementation of transformers in the
    place of the model's own choice. The tokenizer is used with `add_special_tokens=False`.

    Raises
    ------
    InputError
        When the checkpoint is missing or cannot be used: one line with the remedy.
    """
    check_device(device)
    found = source(identifier)
    if found.kind == "adapter":
        folder = Path(found.place)
        parent = load(recipe_of(folder)["source"]["id"], dtype=dtype, device=device, attention=attention)
        return _adapted(parent, folder, resolve(identifier))
    folder = dense(found)
    checked_config(folder)
    tokenizer = tokenizer_in(folder)
    model = model_in(folder, dtype=dtype, device=device, attention=attention)
    return Checkpoint(model.eval().requires_grad_(False), tokenizer, resolve(identifier))


def _adapted(parent: Checkpoint, folder: Path, identity: dict) -> Checkpoint:
    """Add an adapter to the checkpoint that it was made from, dropped as it was in training."""
    if is_spread(parent.model):
        raise InputError(f"expected one device for {identity['id']}; got several; name one, like --device=cuda:0")
    model: Any = parent.model
    if not identity["rope"]:
        scale = softmax_scale_of(recipe_of(folder))
        model = dropped(model, attention_type=identity["attention"], softmax_scale=scale)
    adapters.apply(model, folder)
    return Checkpoint(model.eval().requires_grad_(False), parent.tokenizer, identity)


def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer that lies beside a checkpoint.

    Raises
    ------
    InputError
        When there is none that transformers can read, or it cannot read the config.
    """
    _check_readable(folder)
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise InputError(
            f"expected a tokenizer that transformers can read in {folder}; got {reason(error)}; copy it again"
        ) from error


def _check_readable(folder: Path) -> None:
    """Refuse a config.json that transformers cannot read by its name: reading the tokenizer reads it too."""
    try:
        with quiet():
            AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a value that it does not know leads to
        raise InputError(
            f"expected a config.json that transformers can read in {folder}; got {reason(error)}; correct it"
        ) from error


def check_device(device: str | torch.device) -> None:
    """Refuse a device that is none, or that this machine lacks, before anything is loaded or fetched.

    Raises
    ------
    InputError
        When torch knows no such device, or sees none here.
    """
    if device == "auto":
        return
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise InputError(f"expected a device like cuda, cuda:0, mps, cpu or auto; got {device!r}; name one") from None
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = {"cuda": cuda, "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if (wanted.index or 0) >= there.get(wanted.type, 0):
        seen = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in there.items() if count)
        raise InputError(f"expected a device that torch sees here ({seen}); got {str(device)!r}; name one of them")


def dense(found: Source) -> Path:
    """Return the folder of dense safetensors of a source, fetching or dequantising it the first time."""
    if found.kind == "embedded":
        return embedded.rope_folder()
    if found.kind == "adapter":
        return dense(source(recipe_of(Path(found.place))["source"]["id"]))
    if found.kind == "hub":
        return hub.folder(found.place, found.revision)
    return gguf.dequantised(Path(found.place)) if found.kind == "gguf" else Path(found.place)


def drop(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same weights, not copied, without rotation: what dropping alone does.

    Raises
    ------
    InputError
        When the checkpoint has no rotation to drop.
    """
    if not checkpoint.identity["rope"]:
        raise InputError(
            f"expected a checkpoint with rotation to drop; got {checkpoint.identity['id']}, which has none"
        )
    plain = checkpoint.identity["architecture"] == "llama" and not is_spread(checkpoint.model)
    model = dropped(checkpoint.model) if plain else unrotated(checkpoint.model)
    fields = {"attention": "nope", "rope": False, "dropped": True} | ({"architecture": "llama_drope"} if plain else {})
    return replace(checkpoint, model=model, identity=checkpoint.identity | fields)
