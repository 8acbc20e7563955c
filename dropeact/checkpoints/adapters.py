"""What training changed, small enough to ship: int8 rows with a scale each, in safetensors, added back on load.

An adapter folder holds adapter.safetensors, recipe.json (how it was made, from which source) and log.csv. Keys:
`NAME.delta` + `NAME.scale` (a weight's change), or `NAME.lora_A`, `NAME.lora_B` with their scales (a low-rank change).
"""

import json
import os
from pathlib import Path

import torch
from jaxtyping import Float, Int8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dropeact.axes import InputError
from dropeact.checkpoints.source import ADAPTER, RECIPE, source

PARTS = (".delta", ".lora_A", ".lora_B")


def folder_of(identifier: str) -> Path:
    """Find the adapter behind an identifier: the folder itself, that of a recalibrated checkpoint, or the shipped one.

    Raises
    ------
    InputError
        When there is no adapter.
    """
    inside = Path(identifier) / "adapter"
    found = source(str(inside) if inside.is_dir() else identifier)
    if found.kind != "adapter":
        raise InputError(f"expected a folder with {ADAPTER} and {RECIPE}; got {identifier}; name one")
    return Path(found.place)


def quantised(rows: Float[Tensor, "row column"]) -> tuple[Int8[Tensor, "row column"], Float[Tensor, "row 1"]]:
    """Round each row to 255 levels of its own: scale = max|row| / 127; the error is at most scale / 2."""
    scale = (rows.float().abs().amax(1, keepdim=True) / 127).clamp_min(1e-12)
    return torch.round(rows.float() / scale).to(torch.int8), scale


def encoded(name: str, change: Float[Tensor, "..."]) -> dict[str, Tensor]:
    """Encode one change under `name`: matrices as int8 rows, vectors (norms) as they are."""
    if change.ndim < 2:
        return {name: change.float().contiguous()}
    values, scale = quantised(change)
    return {name: values.contiguous(), f"{name}.scale": scale.contiguous()}


def decoded(tensors: dict[str, Tensor], name: str) -> Float[Tensor, "..."]:
    """Return the change that was encoded under `name`."""
    change = tensors[name].float()
    return change * tensors[f"{name}.scale"] if f"{name}.scale" in tensors else change


def encoded_deltas(trained: dict[str, Tensor], source: dict[str, Tensor]) -> dict[str, Tensor]:
    """Encode trained - source for each trained weight; a weight that the source lacks (QK-norm) starts from 1."""
    tensors: dict[str, Tensor] = {}
    for name, weight in trained.items():
        start = source[name].float() if name in source else torch.ones_like(weight, dtype=torch.float32)
        tensors |= encoded(f"{name}.delta", weight.detach().float().cpu() - start.cpu())
    return tensors


def encoded_low_rank(factors: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Encode W' = W + B A for each weight name, as int8 rows of A and of B."""
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in factors.items():
        tensors |= encoded(f"{name}.lora_A", down.float().cpu()) | encoded(f"{name}.lora_B", up.float().cpu())
    return tensors


def save(folder: Path, tensors: dict[str, Tensor], recipe: dict) -> None:
    """Write an adapter into `folder`: the weights first, each file whole or not at all, the recipe last."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{ADAPTER}.tmp.{os.getpid()}"
    save_file(tensors, unfinished)
    unfinished.replace(folder / ADAPTER)
    text = folder / f"{RECIPE}.tmp.{os.getpid()}"
    text.write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")
    text.replace(folder / RECIPE)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Read what an adapter holds.

    Raises
    ------
    InputError
        When its file is damaged, or holds anything but changes of weights.
    """
    try:
        tensors = load_file(folder / ADAPTER)
    except (OSError, SafetensorError) as error:
        raise InputError(f"expected an adapter in {folder / ADAPTER}; got {error}; copy it again") from error
    for key, tensor in tensors.items():
        beside = {f"{key}.scale"} if tensor.dtype == torch.int8 else set()
        if key.endswith((".lora_A", ".lora_B")):
            beside |= {f"{key[:-1]}A", f"{key[:-1]}B"}
        if not key.removesuffix(".scale").endswith(PARTS) or not beside <= set(tensors):
            raise InputError(f"expected changes of weights in {folder / ADAPTER}; got {key} alone; copy it again")
    return tensors


def apply(model: nn.Module, folder: Path) -> None:
    """Add an adapter's changes to a model's weights, in place of the tensors that it shares with its parent.

    Raises
    ------
    InputError
        When the adapter is damaged, or for another model.
    """
    tensors = tensors_of(folder)
    parameters = dict(model.named_parameters())
    names = {key.rsplit(".", 1)[0] for key in tensors if not key.endswith(".scale")}
    for name in sorted(names):
        weight, change = parameters.get(name), change_of(tensors, name)
        if weight is None or weight.shape != change.shape:
            raise InputError(
                f"expected an adapter for this model; {folder} changes {name}, which it lacks or has in another shape"
            )
        weight.data = (weight.detach().float() + change.to(weight.device)).to(weight.dtype)


def change_of(tensors: dict[str, Tensor], name: str) -> Float[Tensor, "..."]:
    """Return what an adapter adds to the weight `name`."""
    parts = []
    if f"{name}.lora_A" in tensors:
        parts.append(decoded(tensors, f"{name}.lora_B") @ decoded(tensors, f"{name}.lora_A"))
    if f"{name}.delta" in tensors:
        parts.append(decoded(tensors, f"{name}.delta"))
    return torch.stack(parts).sum(0)


def stacked(before: dict[str, Tensor], factors: dict[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Put an earlier adapter's factors beside new ones: B A + B' A' = [B B'] [A; A'] (the ranks add up)."""
    joined = dict(factors)
    for name in {key.removesuffix(".lora_A") for key in before if key.endswith(".lora_A")}:
        down, up = decoded(before, f"{name}.lora_A"), decoded(before, f"{name}.lora_B")
        if name in factors:
            down, up = torch.cat([factors[name][0].cpu(), down]), torch.cat([factors[name][1].cpu(), up], 1)
        joined[name] = (down, up)
    return joined
