"""Experiment 7: how much attention goes to the first key, and how much stays near, over 512 tokens of text."""

import xarray as xr

from dropeact.estimators import Conjunction, Estimate, both, difference
from dropeact.estimators.regions import equivalent_share
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates_difference


def sink_heads(model: Model) -> xr.DataArray:
    """Share of heads whose queries 1..511 give the first key at least 0.3 on average, per text."""
    scores = model.sink_scores(length=512)
    return (scores >= model.protocol.sink_threshold).where(scores.notnull()).mean(["layer", "head"], skipna=False)


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
    models = (measured.drope, measured.rope)
    first = [model.sink_scores(length=512).mean(["layer", "head"], skipna=False) for model in models]
    local = [model.phenomena["local_mass"].mean(["layer", "head"], skipna=False) for model in models]
    return both(
        {
            "first key": difference(*first, unit="attention mass"),
            "local": difference(*local, unit="attention mass"),
        }
    )


attention_sink_heads.replicated_within(replicates_difference("attention-sink-heads"), protocol="natural")
