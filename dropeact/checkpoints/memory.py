"""Memory that a training run will need, against what the machine has, before anything is loaded."""

from pathlib import Path

import torch

from dropeact.axes import InputError
from dropeact.checkpoints.objectives import CHUNK

FLOAT = 4
GIB = 2**30


def needed(
    config: dict, *, trainables: str, half: bool, cpu: bool, windows: int, length: int, checkpointing: bool
) -> int:
    """Estimate the bytes of a training run.

    While it is made ready: weights 4 (student) + 4 (parent) bytes each. In training: weights 4 + 4, or 4 + 2 where the
    parent is kept in half precision; 12 bytes a trained weight (gradient, two moments); activations: tokens x layers x
    (12 hidden + 4 intermediate) x 4, one layer's alone with checkpointing; logits in chunks. On a CPU 4 more a weight,
    for the parent's own weights are kept there.
    """
    hidden, layers, vocabulary = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    heads = config["num_attention_heads"]
    width = (config.get("head_dim") or hidden // heads) * (heads + (config.get("num_key_value_heads") or heads))
    attention, mlp = 2 * hidden * width, 3 * hidden * config["intermediate_size"]
    weights = layers * (attention + mlp) + vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    trained = {"all": weights, "attention": layers * attention, "lora": weights // 10}[trainables]
    wide = 12 * hidden + 4 * config["intermediate_size"]
    kept = layers * hidden + wide if checkpointing else layers * wide
    training = FLOAT * (windows * length * kept + 6 * CHUNK * vocabulary) + weights * (6 if half else 8) + 12 * trained
    return max(training, 8 * weights) + (FLOAT * weights if cpu else 0)


def available(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    file = Path("/proc/meminfo")
    if device.type != "cpu" or not file.is_file():
        return None
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def check(need: int, device: torch.device) -> None:
    """Refuse a run that will not fit.

    Raises
    ------
    InputError
        When the estimate is above the free memory.
    """
    free = available(device)
    if free is not None and need > free:
        raise InputError(
            f"expected about {need / GIB:.1f} GiB of free memory on {device}; got {free / GIB:.1f}; lower "
            "--micro-batch, or use --checkpointing or --trainables=lora"
        )
