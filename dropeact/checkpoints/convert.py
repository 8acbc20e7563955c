"""RoPE checkpoint -> a DroPE checkpoint folder: the same weights, no rotation, loadable by plain `from_pretrained`."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import SmolLM3Config, SmolLM3ForCausalLM

from dropeact.axes import InputError
from dropeact.checkpoints.drope import NORM_TYPES
from dropeact.checkpoints.dropping import dropped
from dropeact.checkpoints.load import Checkpoint, dense, load
from dropeact.checkpoints.source import source
from dropeact.checkpoints.weights import precision


def convert(src: str, dst: str, qk_norm: str | None = None, smollm3: bool = False) -> Path:
    """Write the checkpoint `src` without rotation into the new folder `dst`: the same weights, bit for bit.

    They keep the precision that they are stored in: 13 GB in half precision stay 13 GB. `qk_norm` (`q`, `k` or `qk`)
    adds RMSNorms over the full width of queries or keys, starting at 1. `smollm3` writes a stock SmolLM3 whose layers
    all skip the rotation, which other software loads without this package; a plain NoPE checkpoint can be exported so,
    too.

    Raises
    ------
    InputError
        When `dst` exists, `src` has no rotation to drop, or SmolLM3 cannot hold the result.
    """
    if os.path.lexists(dst):
        raise InputError(f"expected a destination that does not exist; got {dst}; name another folder")
    if qk_norm not in NORM_TYPES:
        raise InputError(f"expected --qk-norm among q, k, qk; got {qk_norm}")
    if smollm3 and qk_norm:
        raise InputError("expected either --smollm3 or --qk-norm; got both; SmolLM3 has no QK-norm")
    checkpoint = load(src, dtype=_precision(src))
    if smollm3:
        return _written(as_smollm3(checkpoint), checkpoint, Path(dst))
    if checkpoint.identity["architecture"] != "llama":
        kind = f"{checkpoint.identity['architecture']}, {checkpoint.identity['attention']}"
        raise InputError(f"expected a Llama with rotation to convert; got {src} ({kind}); only llama is converted")
    return _written(dropped(checkpoint.model, attention_type=NORM_TYPES[qk_norm]), checkpoint, Path(dst))


def as_smollm3(checkpoint: Checkpoint) -> SmolLM3ForCausalLM:
    """Return the weights of a Llama, RoPE or plain NoPE (shared, not copied), in a SmolLM3 that never rotates.

    Raises
    ------
    InputError
        When the checkpoint has QK-norm or a softmax scale of its own, for which SmolLM3 has no place.
    """
    config, attention = checkpoint.model.config, checkpoint.identity["attention"]
    if config.model_type not in ("llama", "llama_drope"):
        raise InputError(f"expected a Llama to export as SmolLM3; got {config.model_type}; only llama is converted")
    if attention not in ("rope", "nope") or getattr(config, "softmax_scale", None) is not None:
        raise InputError(
            f"expected plain attention for SmolLM3; got {attention} or a softmax scale; export without --smollm3"
        )
    kept = config.to_dict()
    for name in ("model_type", "architectures", "transformers_version", "attention_type", "softmax_scale"):
        kept.pop(name, None)
    with torch.device("meta"):
        model = SmolLM3ForCausalLM(SmolLM3Config(**kept, no_rope_layers=[0] * config.num_hidden_layers))
    model.load_state_dict(checkpoint.model.state_dict(), strict=True, assign=True)
    model.tie_weights()
    model.model.rotary_emb = checkpoint.model.model.rotary_emb
    model.generation_config = checkpoint.model.generation_config
    return model.eval()


def _precision(src: str) -> torch.dtype:
    """The precision of a checkpoint's own weights; a change that is added to its parent's is made in float32."""
    found = source(src)
    return torch.float32 if found.kind == "adapter" else precision(dense(found))


def _written(model: Any, checkpoint: Checkpoint, destination: Path) -> Path:
    """Save model and tokenizer beside the destination, then give the folder its name."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f"{destination.name}.tmp.{os.getpid()}")
    try:
        model.save_pretrained(partial)
        checkpoint.tokenizer.save_pretrained(partial)
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return destination
