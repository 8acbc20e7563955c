"""How a checkpoint was made, as the JSON that travels with it: options, source, corpus, time, versions, outcome."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from dropeact.checkpoints.adapters import folder_of
from dropeact.checkpoints.cache import sha256_of
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.source import recipe_of

PACKAGES = ("dropeact", "torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers")


def recipe(
    options: Options,
    *,
    source: dict,
    corpus: dict,
    steps: int,
    seconds: float,
    device: str,
    attention: str,
    heldout: dict,
) -> dict:
    """Return the recipe of a run; the tokens of an adapter that it began from are added up."""
    before = earlier(options.from_adapter)
    tokens = steps * options.batch * options.length
    return {
        "schema": 1,
        "source": {name: source[name] for name in ("id", "revision", "sha256", "quantization")},
        "attention": attention,
        "objective": options.objective,
        "trainables": options.trainables,
        "tokens": tokens + before.get("tokens", 0),
        "steps": steps,
        "seconds": round(seconds),
        "device": device,
        "command": options.command(),
        "options": options.recipe(),
        "corpus": corpus,
        "heldout": heldout,
        "versions": {name: _version(name) for name in PACKAGES},
        "before": before or None,
    }


def earlier(adapter: str | None) -> dict:
    """Return the recipe of the adapter that a run begins from."""
    return recipe_of(folder_of(adapter)) if adapter else {}


def corpus_summary(corpus: str) -> dict:
    """Describe a corpus without its place: kind, hash, and the totals of a manifest.json beside it."""
    path = Path(corpus).expanduser()
    if not path.is_file():
        return {"kind": "folder" if path.is_dir() else corpus, "sha256": None}
    return {"kind": "file", "sha256": sha256_of(path)} | _totals(path.parent / "manifest.json")


def _totals(manifest: Path) -> dict:
    """What a manifest says of a corpus; a file of that name that is something else says nothing."""
    try:
        described = json.loads(manifest.read_text("utf-8"))
        return {name: described[name] for name in ("total", "categories") if name in described}
    except (OSError, ValueError, TypeError):
        return {}


def device_name(device: torch.device) -> str:
    """Name the class of hardware: the GPU, or the CPU's kind with the number of threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
