"""A tiny checkpoint recalibrated on the CPU and on a device that is not, stopped there once: `python -m ... FOLDER`."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from dropeact.checkpoints import progress, recalibrate
from dropeact.checkpoints.loop import Loop
from dropeact.checkpoints.options import Options
from tests.another_device import pretended
from tests.checkpoints import tiny

STEP = 4 * 32
WAYS: dict[str, dict[str, Any]] = {
    "distilled": {"qk_norm": "qk", "softmax_scale": 0.5},
    "all-weights": {"trainables": "all", "objective": "ce"},
    "low-rank": {"trainables": "lora", "lora_rank": 2, "corpus": "parent"},
}


class There:
    """What a process asks of accelerate, which knows of no device that is pretended."""

    device = torch.device(pretended.NAME, 0)
    process_index, num_processes, is_main_process = 0, 1, True

    def __init__(self, **_options: object) -> None:
        self.main_process_first, self.no_sync = nullcontext, nullcontext

    def prepare_model(self, model: Any) -> Any:
        return model.to(self.device)

    def reduce(self, tensor: Tensor, **_options: object) -> Tensor:
        return tensor

    def wait_for_everyone(self) -> None:
        pass


@contextmanager
def there() -> Iterator[None]:
    """Let a run take place on the device; weights are read to the CPU, and written from it, which safetensors does."""

    def load(identifier: str, *, device: torch.device) -> Any:
        loaded: Any = read(identifier)
        loaded.model.to(device)
        return loaded

    def save(tensors: dict[str, Tensor], file: Path) -> None:
        write({name: tensor.cpu() for name, tensor in tensors.items()}, file)

    read, write = recalibrate.load, progress.save_file
    patched = patch.multiple(recalibrate, Accelerator=There, load=load), patch.object(progress, "save_file", save)
    with patched[0], patched[1], pretended.pretending():
        yield


def stopped(options: Options, *, after: int) -> None:
    """Begin a run, and stop it after so many steps."""
    steps, step = iter(range(after)), Loop.take_step

    def some(loop: Loop) -> tuple[float, float]:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(loop)

    with patch.object(Loop, "take_step", some):
        try:
            recalibrate.recalibrate(options)
        except KeyboardInterrupt:
            return
    raise AssertionError("the run was not stopped")


def losses(folder: str) -> Tensor:
    """Of every step, and held out."""
    with (Path(folder) / "log.csv").open(newline="") as file:
        return torch.tensor(
            [float(row[name]) for row in csv.DictReader(file) for name in ("loss", "heldout") if row[name]]
        )


def main(folder: Path) -> None:
    """Both runs of every way, compared."""
    shared: dict[str, Any] = {"source": str(tiny.saved(folder / "model")), "tokens": 6 * STEP, "length": 32, "batch": 4}
    shared |= {"micro_batch": 2, "learning_rate": 3e-3, "warmup_steps": 2, "heldout_windows": 4, "evaluations": 2}
    shared |= {"corpus": str(tiny.corpus(folder)), "precision": "float32", "save_every": 2, "snapshots": (0.5,)}
    for way, options in WAYS.items():
        here = Options(destination=str(folder / f"{way}-here"), **(shared | options))
        other = replace(here, destination=str(folder / f"{way}-there"))
        recalibrate.recalibrate(here)
        with there():
            stopped(other, after=3)
            recalibrate.recalibrate(other)
        torch.testing.assert_close(losses(other.destination), losses(here.destination), atol=1e-4, rtol=1e-4)
        print(way)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
