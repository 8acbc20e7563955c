"""Experiment 7: how much attention goes to the first key, and how much stays near, over 512 tokens of text."""

from collections.abc import Callable

import xarray as xr

from dropeact.estimators import Conjunction, Estimate, Part, both, difference
from dropeact.estimators.regions import equivalent_share
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates_change, replicates_difference


def sink_heads(model: Model) -> xr.DataArray:
    """Share of heads whose queries 1..511 give the first key at least 0.3 on average, per text."""
    scores = model.sink_scores(length=512)
    return (scores >= model.protocol.sink_threshold).where(scores.notnull()).mean(["layer", "head"], skipna=False)


def first_mass(model: Model) -> xr.DataArray:
    """Mean attention of queries 1..511 to the first key over layers and heads, per text."""
    return model.sink_scores(length=512).mean(["layer", "head"], skipna=False)


def local_mass(model: Model) -> xr.DataArray:
    """Mean attention to the five keys before the query over layers and heads, per text."""
    return model.phenomena["local_mass"].mean(["layer", "head"], skipna=False)


def change_in(mass: Callable[[Model], xr.DataArray], measured: Measured) -> Estimate:
    """A mass in DroPE minus the same in RoPE."""
    return difference(mass(measured.drope), mass(measured.rope), unit="attention mass")


@claim("attention-sink-heads", region=equivalent_share())
def attention_sink_heads(measured: Measured) -> Estimate:
    """The share of sink heads is nearly the same in both models, within 0.05.

    mean over texts of the share of heads with mean_{1 <= t < 512} a_t0 >= 0.3, DroPE minus RoPE
    """
    return difference(sink_heads(measured.drope), sink_heads(measured.rope), unit="share of heads")


@claim("attention-bos-and-local", region=equivalent_share(), set="observe")
def attention_bos_and_local(measured: Measured) -> Conjunction:
    """Mean attention to the first key and mean local attention differ little between the models, within 0.05.

    mean over texts, layers and heads of a_t0, and of the mass on the five keys before the query (the first key left
    out), DroPE minus RoPE
    """
    return both({"first key": change_in(first_mass, measured), "local": change_in(local_mass, measured)})


attention_sink_heads.replicated_within(replicates_difference("attention-sink-heads"), protocol="natural")


@attention_bos_and_local.magnitude(replicates_change("attention-bos-and-local", "bos"), protocol="natural")
def bos_and_local_change(measured: Measured) -> Conjunction:
    """The same differences, each beside its own published one."""
    local = replicates_change("attention-bos-and-local", "local")
    return Conjunction(
        (Part("first key", change_in(first_mass, measured)), Part("local", change_in(local_mass, measured), local))
    )
