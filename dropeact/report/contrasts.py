"""Stored results -> what each defect of the published protocol does, alone, to a number: both ways side by side."""

from collections.abc import Callable, Mapping
from math import expm1
from typing import Any, NamedTuple

import xarray as xr

from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.measurements.uniform import sink_score

SHORT = (6, 7, 8, 9)


class Reading(NamedTuple):
    """One number of both models, read in one way."""

    rope: float
    drope: float


class Contrast(NamedTuple):
    """A number as the study read it (one defect, everything else alike) and as this suite reads it."""

    defect: str
    number: str
    published: Reading
    sound: Reading


def contrasts(measured: Measured) -> list[Contrast]:
    """Every contrast whose measurements are stored; means over texts, nothing is tested."""
    found = []
    for contrast in CONTRASTS:
        try:
            found.append(contrast(measured))
        except (MissingMeasurement, KeyError):  # an earlier version's results lack a cell or a variable
            continue
    return found


def short_prompts(measured: Measured) -> Contrast:
    """Sink rates of 6 to 9 tokens against those of 64 tokens, the first query among them in both."""
    rates = _sink_rates(measured)
    references = ", ".join(f"{sink_score(length, with_first_query=True):.2f}" for length in (*SHORT, 64))
    return Contrast(
        f"prompts of 6 to 9 tokens instead of 64 (uniform attention scores {references} at 6, 7, 8, 9, 64 tokens)",
        "sink rate at τ = 0.3, the first query included",
        _means(rates, lambda rate: rate.sel(length=list(SHORT), convention="with_first_query")),
        _means(rates, lambda rate: rate.sel(length=64, convention="with_first_query")),
    )


def first_query(measured: Measured) -> Contrast:
    """Sink rates of 64 tokens with the first query, which can only attend to itself, and without it."""
    return Contrast(
        "the first query included, which can only attend to itself",
        "sink rate at τ = 0.3, 64 tokens",
        *_ways(
            {name: rate.sel(length=64) for name, rate in _sink_rates(measured).items()},
            "convention",
            "with_first_query",
            "without_first_query",
        ),
    )


def no_rotation(measured: Measured) -> Contrast:
    """Sink rates of attention rebuilt from projections, against attention as it is used."""
    rates = _each(
        measured,
        lambda model: model.measurement("contrasts")["sink_rate"].sel(length=64, convention="without_first_query"),
    )
    return Contrast(
        "attention rebuilt from the projections, without the rotation",
        "sink rate at τ = 0.3",
        *_ways(rates, "rebuilding", "without rotation", "as used"),
    )


def no_rotation_entropy(measured: Measured) -> Contrast:
    """Entropy of attention rebuilt from projections, against that of attention as it is used."""
    entropies = _each(measured, lambda model: model.measurement("contrasts")["rebuilt_entropy"])
    return Contrast(
        "attention rebuilt from the projections, without the rotation",
        "entropy of attention, 64 tokens (nats)",
        *_ways(entropies, "rebuilding", "without rotation", "as used"),
    )


def padding(measured: Measured) -> Contrast:
    """Smallest entropy over the layers with the RoPE model's texts padded, as the study had them, and with neither."""
    entropies = _each(measured, lambda model: _after_blocks(model.measurement("contrasts")["padding_entropy"]))
    lowest = {name: values.min("depth").mean("text") for name, values in entropies.items()}
    sound = Reading(*(float(lowest[name].sel(padding="unpadded")) for name in ("rope", "drope")))
    padded = Reading(float(lowest["rope"].sel(padding="padded")), sound.drope)
    return Contrast(
        "the RoPE model's texts padded to 256 tokens, the DroPE model's not",
        "smallest entropy of the representations over the layers (nats)",
        padded,
        sound,
    )


def first_token(measured: Measured) -> Contrast:
    """Smallest entropy over the layers, with the first token, which sets it, and without it."""
    entropies = _each(measured, lambda model: model.observations)
    return Contrast(
        "the first token among the rows (without it: what the other tokens do)",
        "smallest entropy of the representations over the layers (nats)",
        _means(entropies, lambda seen: _after_blocks(seen["entropy"]).min("depth")),
        _means(entropies, lambda seen: _after_blocks(seen["entropy_without_first"]).min("depth")),
    )


def token_average(measured: Measured) -> Contrast:
    """Attention's share at the write layer from mean norms over all tokens, and from median norms of ordinary ones."""
    shares = _each(measured, lambda model: model.phenomena)
    return Contrast(
        "norms averaged over all tokens, the first among them, instead of the median ordinary token's (leaving one of "
        "so many out moves no median)",
        "attention's share of the update at the write layer, a ratio of averages",
        _means(shares, lambda seen: measured.at_write(seen["attention_share_of_means"])),
        _means(shares, lambda seen: measured.at_write(_share_of_medians(seen))),
    )


def ratio_of_averages(measured: Measured) -> Contrast:
    """Attention's share of ordinary tokens at the write layer: a ratio of median norms, and the median of ratios."""
    shares = _each(measured, lambda model: model.phenomena)
    return Contrast(
        "a ratio of averages instead of the average of every token's ratio",
        "attention's share of the update at the write layer, median of the ordinary tokens",
        _means(shares, lambda seen: measured.at_write(_share_of_medians(seen))),
        _means(shares, lambda seen: measured.at_write(seen["attention_share"].sel(token_class="ordinary", drop=True))),
    )


def repetition_loss(measured: Measured) -> Contrast:
    """Loss on one sentence said over and over, against the loss on natural text."""
    return Contrast(
        "one sentence repeated instead of natural text",
        "loss at 512 tokens (nats)",
        _means(_each(measured, _repeated), lambda seen: seen["nats_mean"]),
        _means(_each(measured, lambda model: model.observations), lambda seen: seen["nats_mean"]),
    )


def repetition_counts(measured: Measured) -> Contrast:
    """Massive Query values on one sentence said over and over, against those on natural text."""
    site = measured.protocol.site
    return Contrast(
        "one sentence repeated instead of natural text",
        "massive Query values, λ = 5",
        _means(_each(measured, _repeated), lambda seen: seen["massive_count"].sel(tensor="query", site=site)),
        _means(_each(measured, lambda model: model.counts("query")), lambda counts: counts.sum("layer", skipna=False)),
    )


def percent(measured: Measured) -> Contrast:
    """What zeroing massive values costs, as a rise of perplexity in percent and in nats."""
    nats = _each(measured, lambda model: model.nats("massive") - model.nats("baseline"))
    sound = _means(nats, lambda values: values)
    return Contrast(
        "percent of perplexity (exp of the mean loss) instead of nats",
        "what zeroing massive values costs",
        Reading(*(100 * expm1(value) for value in sound)),
        sound,
    )


CONTRASTS: tuple[Callable[[Measured], Contrast], ...] = (
    short_prompts,
    first_query,
    no_rotation,
    no_rotation_entropy,
    padding,
    first_token,
    token_average,
    ratio_of_averages,
    repetition_loss,
    repetition_counts,
    percent,
)


def _repeated(model: Model) -> xr.Dataset:
    return model.measurement("contrasts", corpus="repeated")


def _sink_rates(measured: Measured) -> dict[str, xr.DataArray]:
    return _each(measured, lambda model: model.measurement("contrasts")["sink_rate"].sel(rebuilding="as used"))


def _share_of_medians(seen: xr.Dataset) -> xr.DataArray:
    attention, mlp = (seen[f"{part}_norm"].sel(token_class="ordinary", drop=True) for part in ("attention", "mlp"))
    return attention / (attention + mlp)


def _after_blocks(values: xr.DataArray) -> xr.DataArray:
    return values.isel(depth=slice(1, None))


def _each(measured: Measured, take: Callable[[Model], Any]) -> dict[str, Any]:
    return {model.name: take(model) for model in (measured.rope, measured.drope)}


def _means(taken: Mapping[str, Any], number: Callable[[Any], xr.DataArray]) -> Reading:
    return Reading(*(float(number(taken[name]).mean(skipna=False)) for name in ("rope", "drope")))


def _ways(taken: Mapping[str, Any], dim: str, published: str, sound: str) -> tuple[Reading, Reading]:
    return _means(taken, lambda v: v.sel({dim: published})), _means(taken, lambda v: v.sel({dim: sound}))
