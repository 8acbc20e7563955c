"""Stored Q/K lengths and residual shares -> what sharpens attention and who writes the update, at w and over layers."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from dropeact.axes import SITES
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.observed.table import INTERVAL, Table, by_model, per_text, written

Profile = Callable[[Model], xr.DataArray]
Place = Callable[[xr.DataArray], xr.DataArray]
CLASSES = {"first": "first token", "massive": "others with a massive activation", "ordinary": "ordinary tokens"}
SAME = 1e-5  # relative difference of float32 sums
LENGTHS = (
    "Logit spread: standard deviation of a query's scores over the keys it sees, mean over heads and queries t ≥ 1. "
    "Key norm: mean over keys and heads of ‖k_j‖; centred: of ‖k_j − mean k‖, for what all keys share shifts all "
    "scores of a query alike, and no softmax sees it. Length: mean over tokens of the norm over all heads."
)
SHARES = (
    "a and m are what attention and MLP add to a token, Δ = a + m. By norms: ‖a‖ / (‖a‖ + ‖m‖). By projection: a·Δ / "
    "‖Δ‖², negative where attention works against the update; that of m is the rest to 1. Medians over the tokens of "
    "a class."
)


def at_write(measured: Measured) -> list[Table | None]:
    """Lengths and shares at the write layer."""
    where = f"at the write layer{written(measured)}"
    return [
        _table(measured, "8", f"Queries, keys and logits {where}", LENGTHS, lengths(measured), measured.at_write),
        _table(measured, "8", f"Attention's part of the update {where}", SHARES, shares(), measured.at_write),
    ]


def over_layers(measured: Measured) -> list[Table | None]:
    """The same as means over the layers of a text."""
    caption = "As in experiment 8, means over the layers of a text."

    def place(values: xr.DataArray) -> xr.DataArray:
        return values.mean("layer", skipna=False)

    return [
        _table(measured, "9", "Queries, keys and logits over all layers", caption, lengths(measured), place),
        _table(measured, "9", "Attention's part of the update over all layers", caption, shares(), place),
    ]


def lengths(measured: Measured) -> dict[str, Profile]:
    """Logit spread, key norms, and lengths of queries and keys at each site (once where the sites agree)."""
    found: dict[str, Profile] = {
        "logit spread": lambda model: model.phenomena["logit_spread"].mean("head", skipna=False),
        "key norm": lambda model: model.phenomena["key_head_norm"].mean("kv_head", skipna=False),
        "key norm, centred": lambda model: model.phenomena["key_centred_norm"].mean("kv_head", skipna=False),
    }
    for tensor in ("query", "key"):
        sites = (
            {" (at either site)": SITES[0]} if sites_agree(measured, tensor) else {f", {site}": site for site in SITES}
        )
        found |= {f"{tensor} length{words}": _length(tensor, site) for words, site in sites.items()}
    return found


def sites_agree(measured: Measured, tensor: str) -> bool:
    """Whether what enters the scores is as long as what the projection gives, in every model: rotation turns only."""
    try:
        data = [model.phenomena[f"{tensor}_length"] for model in measured.columns]
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


def _table(
    measured: Measured, experiment: str, title: str, caption: str, profiles: Mapping[str, Profile], place: Place
) -> Table | None:
    quantities = {name: per_text(_placed(profile, place)) for name, profile in profiles.items()}
    return by_model(measured, experiment, title, f"{caption} {INTERVAL}", quantities)


def _placed(profile: Profile, place: Place) -> Profile:
    return lambda model: place(profile(model))


def _length(tensor: str, site: str) -> Profile:
    return lambda model: model.phenomena[f"{tensor}_length"].sel(site=site, drop=True)


def _of_class(variable: str, name: str) -> Profile:
    return lambda model: model.phenomena[variable].sel(token_class=name, drop=True)
