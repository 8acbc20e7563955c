"""What a run needs to go on after SIGKILL, as safetensors and JSON: each state is a folder, whole or not there."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

TENSORS = "state.safetensors"
NUMBERS = "progress.json"


def save(run: Path, step: int, numbers: dict, trained: dict[str, nn.Parameter], optimizer: Optimizer) -> None:
    """Write the state after `step` steps as a new folder, then remove the older ones."""
    unfinished = run / f"state-{step:07d}.tmp.{os.getpid()}"
    unfinished.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(trained, optimizer), unfinished / TENSORS)
    (unfinished / NUMBERS).write_text(json.dumps(numbers | {"step": step}))
    folder = run / f"state-{step:07d}"
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
    for older in run.glob("state-*"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)


def latest(run: Path) -> Path | None:
    """Return the newest whole state of a run, if there is one."""
    states = sorted(folder for folder in run.glob("state-*") if ".tmp." not in folder.name)
    return states[-1] if states else None


def restore(state: Path, trained: dict[str, nn.Parameter], optimizer: Optimizer) -> dict:
    """Put a state back into weights, optimizer and torch's random state; return its numbers."""
    tensors = load_file(state / TENSORS)
    torch.set_rng_state(tensors["random"])
    for name, parameter in trained.items():
        parameter.data.copy_(tensors[f"weight/{name}"])
    names = {parameter: name for name, parameter in trained.items()}
    for parameter in _parameters(optimizer):
        prefix = f"optimizer/{names[parameter]}/"
        kept = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        optimizer.state[parameter] = {
            key: value if value.ndim == 0 else value.to(parameter.device) for key, value in kept.items()
        }
    return json.loads((state / NUMBERS).read_text())


def _tensors(trained: dict[str, nn.Parameter], optimizer: Optimizer) -> dict[str, Tensor]:
    names = {parameter: name for name, parameter in trained.items()}
    tensors = {f"weight/{name}": parameter.detach().contiguous() for name, parameter in trained.items()}
    tensors["random"] = torch.get_rng_state()
    for parameter in _parameters(optimizer):
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{names[parameter]}/{key}"] = value.contiguous()
    return tensors


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
