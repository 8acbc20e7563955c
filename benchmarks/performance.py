"""Times and memory of the suite on this machine; `python -m benchmarks.performance` writes docs/performance.md.

Parts: passes, profile, observation, disruption, commands, processes, long, gpu; `--only=passes,commands` measures
some and keeps the stored rows of the others. All of them take about half an hour of two idle cores.
"""

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import commands, gpu, long_texts, passes, profiles, sets
from benchmarks.performance_page import page
from dropeact import corpus, pairs
from dropeact.checkpoints import load as checkpoints
from dropeact.corpus.arms import tokenise
from dropeact.files import write_text

ROOT = Path(__file__).parents[1]
STORED = ROOT / "benchmarks" / "results" / "performance.json"
LONGEST = max(long_texts.LAYERS)


def main() -> None:
    """Measure the chosen parts, keep the others, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--page", action="store_true", help="write the page from the stored rows only")
    options = parser.parse_args()
    stored = json.loads(STORED.read_text("utf-8")) if STORED.is_file() else {}
    for part in [] if options.page else options.only.split(","):
        rows = PARTS[part]()
        if rows:
            stored[part] = {"machine": machine(), "date": datetime.date.today().isoformat(), "rows": rows}
        write_text(STORED, json.dumps(stored, indent=1) + "\n")
    write_text(ROOT / "docs" / "performance.md", page(stored))


def machine() -> dict[str, Any]:
    """What was measured on, without a name."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _loaded() -> checkpoints.Checkpoint:
    return checkpoints.load(pairs.load(pairs.DEFAULT).rope, dtype=torch.float32, device="cpu")


def _texts(checkpoint: checkpoints.Checkpoint, length: int) -> torch.Tensor:
    return torch.from_numpy(tokenise(corpus.passages(), checkpoint.tokenizer, arm="first", length=length))


def _long_text(checkpoint: checkpoints.Checkpoint) -> torch.Tensor:
    """Passages one after the other, again from the first where they end: only its length matters here."""
    texts = _texts(checkpoint, 512).flatten()
    return texts.repeat(-(-LONGEST // len(texts)))[:LONGEST]


def _with_model(measure: Callable[[Any, torch.Tensor], list], texts: Callable) -> Callable[[], list[dict[str, Any]]]:
    def measured() -> list[dict[str, Any]]:
        checkpoint = _loaded()
        return measure(checkpoint.model, texts(checkpoint))

    return measured


PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "passes": _with_model(passes.measured, _long_text),
    "profile": _with_model(profiles.measured, _long_text),
    "observation": _with_model(sets.observation, lambda checkpoint: _texts(checkpoint, 512)),
    "disruption": _with_model(sets.disrupted, lambda checkpoint: _texts(checkpoint, 512)),
    "commands": commands.measured,
    "processes": commands.processes,
    "long": _with_model(long_texts.measured, _long_text),
    "gpu": gpu.measured,
}

if __name__ == "__main__":
    main()
