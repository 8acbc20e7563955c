"""One observation cell, measured again with other threads, batches, products, precision -> how far variables change."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.checkpoints.products import IS_THERE, by_mkl
from dropeact.measurements.observe import PHENOMENA, observe

VERSION = 2
COMPARISONS = ("repeat", "threads", "batch", "products", "precision")


def noise_floor(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    *,
    ids: Sequence[str],
    halves: Sequence[str],
    phenomena: Sequence[ModuleType] = PHENOMENA,
) -> xr.Dataset:
    """Largest change of every observed variable (comparison).

    `repeat` of the same pass, 1 against 2 `threads`, texts one by one against one `batch`, matrix `products` by oneDNN
    against those of a machine without it, and `precision`: float32 against bfloat16, of a model in half precision
    against the same weights in float32. Where oneDNN multiplies nothing there is no `products`; a model that is spread
    over devices, or has no room beside it for a copy, has no `precision`.

    absolute_v = max |a - b|, relative_v = max |a - b| / max(|a|, |b|)
    """

    def observed(threads: int) -> xr.Dataset:
        with using_threads(threads):
            return observe(model, tokens, ids=ids, halves=halves, phenomena=phenomena)

    usual = torch.get_num_threads()
    once, again = observed(usual), observed(usual)
    alone, together = (again if threads == usual else observed(threads) for threads in (1, 2))
    pairs = {
        "repeat": (once, again),
        "threads": (alone, together),
        "batch": (once, one_by_one(model, tokens, ids, halves, phenomena)),
    }
    if IS_THERE and model.device.type == "cpu" and model.dtype == torch.float32:
        with by_mkl():
            pairs["products"] = (once, observed(usual))
    other = in_other_precision(
        model, lambda copied: observe(copied, tokens, ids=ids, halves=halves, phenomena=phenomena)
    )
    if other is not None:
        pairs["precision"] = (once, other)
    changes = {
        f"{kind}_{name}": ("comparison", np.array([change(a[name].values, b[name].values) for a, b in pairs.values()]))
        for kind, change in (("absolute", largest_change), ("relative", largest_relative_change))
        for name in once.data_vars
    }
    return xr.Dataset(changes, coords={"comparison": list(pairs)})


def in_other_precision(model: PreTrainedModel, observed: Callable[[PreTrainedModel], xr.Dataset]) -> xr.Dataset | None:
    """What a copy shows, in bfloat16 of a float32 model, in float32 of any other; None where it has no room."""
    devices: dict[str, object] = getattr(model, "hf_device_map", {})
    if len(set(devices.values())) > 1:
        return None
    dtype = torch.bfloat16 if model.dtype == torch.float32 else torch.float32
    try:
        copied = copy.deepcopy(model)
        for parameter in copied.parameters():  # rotary frequencies, which are buffers, stay float32 in every model
            parameter.data = parameter.data.to(dtype)
        return observed(copied)
    except torch.OutOfMemoryError:
        return None


def one_by_one(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    ids: Sequence[str],
    halves: Sequence[str],
    phenomena: Sequence[ModuleType] = PHENOMENA,
) -> xr.Dataset:
    """The same texts, each passed alone; what is pooled over texts is pooled again."""
    parts = [
        observe(model, text[None], ids=[name], halves=[half], phenomena=phenomena)
        for text, name, half in zip(tokens, ids, halves, strict=True)
    ]
    texts = [part[[name for name, v in part.data_vars.items() if "text" in v.dims]] for part in parts]
    together = xr.concat(texts, "text", coords="minimal", compat="override")
    pooled = [part[[name for name, v in part.data_vars.items() if "text" not in v.dims]] for part in parts]
    return together.merge({name: _pooled([part[name] for part in pooled]) for name in pooled[0].data_vars})


def _pooled(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    """Norms pool as the root of their mean square, everything else as its mean."""
    power = 2 if str(parts[0].name).endswith("_norm") else 1
    mean = sum(part.astype(np.float64) ** power for part in parts) / len(parts)
    return (mean ** (1 / power)).astype(np.float32)


def largest_change(one: np.ndarray, other: np.ndarray) -> float:
    """Largest |a - b| in float64; NaN where both are NaN is no change."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(np.where(np.isnan(a) & np.isnan(b), 0, np.abs(a - b)).max())


def largest_relative_change(one: np.ndarray, other: np.ndarray) -> float:
    """Largest |a - b| / max(|a|, |b|); equal values, zeros among them, have not changed."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    scale = np.maximum(np.abs(a), np.abs(b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0, np.abs(a - b) / np.where(same, 1, scale)).max())


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
