"""Stored Q/K lengths and residual shares -> what sharpens attention and who writes the update, at w and over layers."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from dropeact.axes import SITES
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.figures import columns
from dropeact.report.observed.table import INTERVAL, Quantity, Table, by_model, per_text

Profile = Callable[[Model], xr.DataArray]
CLASSES = {"first": "first token", "massive": "tokens with a massive activation", "ordinary": "ordinary tokens"}
SAME = 1e-5  # relative difference of float32 sums
AT_W, OVER_LAYERS = "at the write layer", "over all layers"


def tables(measured: Measured) -> list[Table | None]:
    """Lengths and shares at the write layer (experiment 8), and as means over layers (experiment 9)."""
    places: dict[str, tuple[str, Callable[[xr.DataArray], xr.DataArray]]] = {
        "8": (AT_W, measured.at_write),
        "9": (OVER_LAYERS, lambda values: values.mean("layer", skipna=False)),
    }
    made = []
    for experiment, (where, place) in places.items():
        for title, caption, profiles in (
            ("Queries, keys and logits", LENGTHS, lengths(measured)),
            ("Attention's part of the update", SHARES, shares()),
        ):
            quantities = {name: _placed(profile, place) for name, profile in profiles.items()}
            made.append(by_model(measured, experiment, f"{title} {where}", f"{caption} {INTERVAL}", quantities))
    return made


LENGTHS = (
    "Logit spread: standard deviation of a query's scores over the keys that it sees, mean over heads and queries t ≥ 1. "
    "Key norm: mean ‖k_j‖ of a head; centred: mean ‖k_j − mean k‖, for what all keys share shifts all scores alike and no "
    "softmax sees it. Lengths: mean over tokens of the norm over all heads."
)
SHARES = (
    "a and m are what attention and MLP add, Δ = a + m. By norms: ‖a‖ / (‖a‖ + ‖m‖). By projection: a·Δ / ‖Δ‖², whose sign "
    "tells writing from erasing, and which with its counterpart of m adds up to 1. Medians over the tokens of a class."
)


def lengths(measured: Measured) -> dict[str, Profile]:
    """Logit spread, key norms, and lengths of queries and keys at each site (once where the sites agree)."""
    found: dict[str, Profile] = {
        "logit spread": lambda model: model.phenomena["logit_spread"].mean("head", skipna=False),
        "key norm": lambda model: model.phenomena["key_head_norm"].mean("kv_head", skipna=False),
        "key norm, centred": lambda model: model.phenomena["key_centred_norm"].mean("kv_head", skipna=False),
    }
    for tensor in ("query", "key"):
        sites = {"": SITES[0]} if sites_agree(measured, tensor) else {f", {site}": site for site in SITES}
        found |= {f"{tensor} length{words}": _length(tensor, site) for words, site in sites.items()}
    return found


def sites_agree(measured: Measured, tensor: str) -> bool:
    """Whether what enters the scores is as long as what the projection gives, in every model: rotation turns only."""
    try:
        data = [model.phenomena[f"{tensor}_length"] for model in columns(measured)]
    except (MissingMeasurement, KeyError):
        return False
    return all(np.allclose(*(v.sel(site=site) for site in SITES), rtol=SAME, atol=0) for v in data)


def shares() -> dict[str, Profile]:
    """Attention's share by norms and by projection, for each class of tokens."""
    ways = {"by norms": "attention_share", "by projection": "attention_projection"}
    return {
        f"{words}, {way}": _of_class(variable, name)
        for name, words in CLASSES.items()
        for way, variable in ways.items()
    }


def _placed(profile: Profile, place: Callable[[xr.DataArray], xr.DataArray]) -> Quantity:
    return per_text(lambda model: place(profile(model)))


def _length(tensor: str, site: str) -> Profile:
    return lambda model: model.phenomena[f"{tensor}_length"].sel(site=site, drop=True)


def _of_class(variable: str, name: str) -> Profile:
    return lambda model: model.phenomena[variable].sel(token_class=name, drop=True)
