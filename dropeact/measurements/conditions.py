"""Masks and the write layer -> the interventions of each condition under which a model is asked for answers."""

from collections.abc import Sequence

import torch
import xarray as xr

from dropeact.axes import InputError
from dropeact.measurements.retrieval import LENGTHS
from dropeact.probes.first_token import DropFirstMlp
from dropeact.probes.interventions import Intervention, ZeroDims

CONDITIONS = ("baseline", "massive", "first-mlp", "combined")
RANDOM = "random"  # several draws of as many channels as are massive, each for its share of the items
OF_COLUMN = {"rope": (*CONDITIONS, RANDOM), "dropped": ("baseline",), "drope": CONDITIONS}
RETRIEVED = ("baseline", "massive", RANDOM, "first-mlp")  # conditions under which numbers are looked for


def lengths(column: str, condition: str) -> Sequence[int]:
    """Lengths of text that numbers are looked for in: all in the undisturbed pair, the shortest one elsewhere.

    The just-dropped model is the floor that recalibration starts from; one length shows it.
    """
    return LENGTHS if condition == "baseline" and column != "dropped" else LENGTHS[:1]


def conditions(
    masks: xr.Dataset, *, write_layer: int, names: Sequence[str] = CONDITIONS
) -> dict[str, tuple[Intervention, ...]]:
    """Interventions by condition, in the order of `names`.

    baseline: none; first-mlp: the MLP of `write_layer` dropped for the first token; combined: that and massive; any
    other name: the channels of that condition of `masks` (as made by `disruption.masks`) set to 0 as attended.

    Raises
    ------
    InputError
        When `masks` has no such condition.
    """
    first = DropFirstMlp(write_layer)

    def made(name: str) -> tuple[Intervention, ...]:
        if name == "baseline":
            return ()
        if name == "first-mlp":
            return (first,)
        return (zeroed(masks, "massive"), first) if name == "combined" else (zeroed(masks, name),)

    return {name: made(name) for name in names}


def zeroed(masks: xr.Dataset, name: str) -> ZeroDims:
    """The channels of one condition, zeroed in every row of a batch."""
    known = masks["condition"].values.tolist()
    if name not in known:
        raise InputError(f"expected a condition of {', '.join(known)}; got {name!r}; correct its name")
    chosen = masks.sel(condition=name)
    query, key = (torch.from_numpy(chosen[tensor].values.astype(bool))[None] for tensor in ("query", "key"))
    return ZeroDims(query, key)
