"""Which weights are trained, and what they became: all, attention and norms, or low-rank factors (LoRA)."""

from typing import Any

import torch
from torch import Tensor, nn

from dropeact.checkpoints import adapters

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def precision_for(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of matrix products: as named, or bfloat16 where the device multiplies it natively."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def chosen(model: nn.Module, which: str, *, rank: int, seed: int) -> dict[str, nn.Parameter]:
    """Make the chosen weights trainable, everything else frozen, and return them by name.

    `attention` is q, k, v, o and every norm; `lora` adds factors of `rank` to every linear layer of the blocks.
    """
    model.requires_grad_(False)
    if which == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS), model)
    parameters = dict(model.named_parameters())
    wanted = {
        "all": lambda name: True,
        "attention": lambda name: "self_attn" in name or "norm" in name,
        "lora": lambda name: ".lora_" in name,
    }[which]
    trained = {name: parameter for name, parameter in parameters.items() if wanted(name)}
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    return trained


def half_precision(model: Any, precision: torch.dtype) -> None:
    """Keep the blocks' frozen matrices in the precision they are multiplied in (the trained ones stay float32)."""
    for block in model.model.layers:
        for module in block.modules():
            if isinstance(module, nn.Linear) and not module.weight.requires_grad:
                module.weight.data = module.weight.data.to(precision)


def merged(trained: dict[str, nn.Parameter], source: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the changed weights under their names in the source, low-rank factors multiplied out."""
    factors = low_rank(trained)
    if not factors:
        return {name: parameter.detach().float().cpu() for name, parameter in trained.items()}
    return {name: source[name].float() + up.float().cpu() @ down.float().cpu() for name, (down, up) in factors.items()}


def low_rank(trained: dict[str, nn.Parameter]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (A, B) by weight name; alpha equals the rank, so the change is B A. Empty where no factors are trained."""
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for name, parameter in trained.items():
        if ".lora_A." in name:
            partner = trained[name.replace(".lora_A.", ".lora_B.")]
            pairs[f"{name.split('.lora_A.')[0]}.weight"] = (parameter.detach(), partner.detach())
    return pairs


def encoded(
    trained: dict[str, nn.Parameter], source: dict[str, Tensor], *, before: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the change from the source as adapter tensors (int8 rows), with what an earlier adapter changed.

    Trained weights already hold the earlier change; new factors, and weights that are no longer trained, do not.
    """
    factors = low_rank(trained)
    if factors:
        deltas = {key: tensor for key, tensor in before.items() if ".delta" in key}
        return deltas | adapters.encoded_low_rank(adapters.stacked(before, factors))
    kept = {key: tensor for key, tensor in before.items() if _weight_of(key) not in trained}
    return kept | adapters.encoded_deltas(dict(trained), source)


def _weight_of(key: str) -> str:
    """Name the weight that an adapter's tensor belongs to."""
    return key.removesuffix(".scale").rsplit(".", 1)[0]
