"""Rotation of only some channels, or in only some layers -> massive channels by rotary pair where there are pairs."""

from functools import partial
from types import ModuleType

import numpy as np
import xarray as xr
from transformers import PretrainedConfig

from dropeact.axes import MASSIVE_THRESHOLD, TENSORS
from dropeact.measurements import rotary_frequency
from dropeact.measurements.overlap import massive, within
from dropeact.measurements.rotary_frequency import every_threshold, halves
from dropeact.probes.architectures import head_dim
from dropeact.probes.probing import Seen

PARTIAL = ("gpt_neox", "phi3")


def phenomenon_of(config: PretrainedConfig) -> ModuleType:
    """What to measure of a model in the place of `rotary_frequency`: that itself, where whole heads rotate everywhere.

    A model that rotates in no layer keeps the pairs of the one that it was made from.
    """
    channels, layers = rotating_channels(config), rotating_layers(config)
    if channels == head_dim(config) and all(layers):
        return rotary_frequency
    made = ModuleType(__name__)
    vars(made).update(READINGS=rotary_frequency.READINGS, labelled=partial(labelled, channels=channels, layers=layers))
    return made


def rotating_channels(config: PretrainedConfig) -> int:
    """How many of a head's channels rotate: the first ones; most architectures rotate all, whatever `config` says."""
    if config.model_type not in PARTIAL:
        return head_dim(config)
    rope = getattr(config, "rope_parameters", None) or {}
    return int(head_dim(config) * rope.get("partial_rotary_factor", 1.0))


def rotating_layers(config: PretrainedConfig) -> tuple[bool, ...]:
    """Which layers rotate, or all of them where none does."""
    flags = tuple(map(bool, getattr(config, "no_rope_layers", None) or ()))  # 1 where there is a rotation
    return flags if any(flags) else (True,) * config.num_hidden_layers


def labelled(seen: Seen, *, channels: int, layers: tuple[bool, ...]) -> xr.Dataset:
    """What `rotary_frequency` counts, and `unrotated_count` (text, layer, tensor) of the other channels.

    Channels i and i + channels / 2 turn together, i < channels / 2. In a layer without rotation there is no pair (NaN,
    and 0 in either half of the pairs), and every massive channel is unrotated.
    """
    rotating = xr.DataArray(np.array(layers), dims="layer")
    half, counted = channels // 2, []
    for tensor, head in zip(TENSORS[:2], ("head", "kv_head"), strict=True):
        norms = xr.DataArray(seen[f"{tensor}-attended"].numpy(), dims=("layer", "text", head, "dim"))
        found = massive(norms, threshold=every_threshold(norms))
        each = found.sum([name for name in within(norms) if name != "dim"], dtype=np.int16)
        pairs = each.isel(dim=slice(0, half)) + each.isel(dim=slice(half, 2 * half))
        paired = pairs.rename(dim="pair").assign_coords(pair=range(half)).where(rotating).astype(np.float32)
        in_halves = {name: values.astype(np.int16) for name, values in halves(paired).items()}
        counts = each.sel(threshold=MASSIVE_THRESHOLD, drop=True)
        rest = xr.where(rotating, counts.isel(dim=slice(channels, None)).sum("dim"), counts.sum("dim"))
        at_five = paired.sel(threshold=MASSIVE_THRESHOLD, drop=True)
        counted.append(xr.Dataset({"rotary_count": at_five, "unrotated_count": rest} | in_halves))
    joined = xr.concat(counted, xr.Variable("tensor", list(TENSORS[:2])), coords="minimal", compat="override")
    return joined.transpose("text", "layer", "tensor", ...)
