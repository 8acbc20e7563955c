"""Experiment 4: attention sinks, the first token's norm, and how compressed the representations are.

A head is a sink where its queries 1..63 give the first key at least tau = 0.3 of their attention on average. All 64
tokens of natural text; uniform causal attention would score 0.06 there, so a sink is no artefact of short prompts.
"""

import xarray as xr

from dropeact.estimators import Argmax, Conjunction, Estimate, Part, argmax, difference, mean, ratio
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import at_least, equivalent_rate, fewer_by_ratio, higher_rate, lower_rate, most
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates

RATE = "share of heads"


def sink_rate(rates: xr.DataArray) -> xr.DataArray:
    """Share of sink heads over all layers, per text."""
    return rates.mean("layer", skipna=False)


@claim("sink-rate-rope", region=most())
def sink_rate_rope(measured: Measured) -> Estimate:
    """Over the first 64 tokens most heads of the RoPE model are attention sinks at tau = 0.3.

    mean over texts, layers and heads of [mean attention of queries 1..63 to key 0 >= 0.3]
    """
    return mean(sink_rate(measured.rope.sink_rate()), unit=RATE)


@claim("sink-rate-drope", region=most())
def sink_rate_drope(measured: Measured) -> Estimate:
    """Over the first 64 tokens most heads of the DroPE model are attention sinks at tau = 0.3.

    mean over texts, layers and heads of [mean attention of queries 1..63 to key 0 >= 0.3]
    """
    return mean(sink_rate(measured.drope.sink_rate()), unit=RATE)


@claim("sink-rate-equivalent", region=equivalent_rate())
def sink_rate_equivalent(measured: Measured) -> Estimate:
    """Over the first 64 tokens the sink rates of the two models are equivalent, within 0.10.

    mean over texts of the sink rate of DroPE minus that of RoPE
    """
    return difference(sink_rate(measured.drope.sink_rate()), sink_rate(measured.rope.sink_rate()), unit=RATE)


@claim("sink-rate-early-layers", region=lower_rate(), layers="write")
def sink_rate_early_layers(measured: Measured) -> Estimate:
    """Over the first 64 tokens DroPE has fewer sink heads than RoPE up to the layer that writes the first token's norm.

    mean over texts and layers l <= w of the sink rate of DroPE minus that of RoPE, w selected on the other half
    """
    rates = [model.sink_rate() for model in (measured.rope, measured.drope)]
    first = " and ".join(
        f"{name} {', '.join(f'{float(rate.sel(layer=layer).mean()):.3f}' for layer in (0, 1))}"
        for name, rate in zip(("RoPE", "DroPE"), rates, strict=True)
    )
    remark(f"In layers 0 and 1 themselves, which the study names, {first} of the heads are sinks")
    rope, drope = map(measured.up_to_write, rates)
    return difference(drope, rope, unit=RATE)


@claim("bos-norm-peak", region=fewer_by_ratio())
def bos_norm_peak(measured: Measured) -> Estimate:
    """The first token's norm peaks lower in DroPE than in RoPE.

    mean over texts of max_l |x_0 after block l| of DroPE over the same of RoPE, before the final norm
    """
    drope, rope = (
        model.first_norm.isel(depth=slice(1, None)).max("depth", skipna=False)
        for model in (measured.drope, measured.rope)
    )
    return ratio(drope, rope, floor=measured.floor("first_norm"))


def smallest_entropy(model: Model, name: str = "entropy") -> xr.DataArray:
    """The smallest entropy of the hidden states after any block, per text."""
    return model.observations[name].isel(depth=slice(1, None)).min("depth", skipna=False)


@claim("entropy-minimum", region=higher_rate())
def entropy_minimum(measured: Measured) -> Estimate:
    """Representations are less compressed in DroPE: their smallest entropy over the layers is higher.

    mean over texts of min_l H_l of DroPE minus that of RoPE; H = -sum_j p_j ln p_j, p_j = sigma_j^2 / sum sigma^2 of
    the hidden states after block l
    """
    without = [
        float(smallest_entropy(model, "entropy_without_first").mean()) for model in (measured.drope, measured.rope)
    ]
    remark(
        f"Without the first token's row the smallest entropy is {without[0]:.2f} in DroPE and {without[1]:.2f} in RoPE"
    )
    return difference(smallest_entropy(measured.drope), smallest_entropy(measured.rope), unit="nats")


@claim("bos-spike-delayed", region=at_least(0.0, "later: the lead of the layers after w"), layers="write")
def bos_spike_delayed(measured: Measured) -> Argmax:
    """The first token's norm is written at a later layer in DroPE than in RoPE.

    argmax over l <= L/2 of |x_0 after block l| - |x_0 before| of DroPE lies after the same argmax of RoPE
    """
    written = measured.drope.first_norm.diff("depth", label="lower").rename(depth="layer")
    early = written.isel(layer=slice(0, written.sizes["layer"] // 2 + 1))
    layers = early["layer"].values.tolist()
    later = {half: [layer for layer in layers if layer > w] for half, w in measured.write_layers.items()}
    held = {layer for group in later.values() for layer in group}
    if held:
        rises = early.mean("text")
        apart = [float(rises.sel(layer=sorted(group)).max()) for group in (set(layers) - held, held)]
        first = " and ".join(str(layer) for layer in sorted(set(measured.write_layers.values())))
        rise = f"{apart[0]:,.0f} at most, later {apart[1]:,.0f}"
        remark(f"RoPE's is written at layer {first}; up to there DroPE's rises {rise}")
    return argmax(early, later, unit="norm ahead")


sink_rate_rope.replicated_within(replicates("sink-rate-rope", "rate", scale="rate"), protocol="natural")
sink_rate_drope.replicated_within(replicates("sink-rate-drope", "rate", scale="rate"), protocol="natural")
sink_rate_equivalent.replicated_within(
    replicates("sink-rate-equivalent", "difference", scale="difference"), protocol="natural"
)
bos_norm_peak.replicated_within(replicates("bos-norm-peak", "change", scale="ratio"), protocol="natural")


@entropy_minimum.magnitude(replicates("entropy-minimum", "ratio", scale="ratio"), protocol="natural")
def entropy_factor(measured: Measured) -> Estimate:
    """Smallest entropy over the layers of DroPE over that of RoPE."""
    return ratio(smallest_entropy(measured.drope), smallest_entropy(measured.rope))


@sink_rate_early_layers.magnitude(replicates("sink-rate-early-layers", "rope", scale="rate", at=0), protocol="natural")
def early_sink_rates(measured: Measured) -> Conjunction:
    """Sink rate of each model in layers 0 and 1, which the figures name."""
    parts = []
    for name, model in measured.models.items():
        for layer in (0, 1):
            rate = mean(model.sink_rate().sel(layer=layer, drop=True), unit=RATE)
            region = replicates("sink-rate-early-layers", name.lower(), scale="rate", at=layer)
            parts.append(Part(f"{name}, layer {layer}", rate, region))
    return Conjunction(tuple(parts))
