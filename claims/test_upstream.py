"""Upstream findings: what the papers that the study builds on say, asked of this pair."""

import numpy as np
import xarray as xr

from dropeact.axes import HALVES, other_half
from dropeact.estimators import Conjunction, Estimate, Part, both, difference, items, mean, ratio, removal
from dropeact.estimators.accuracy import require_norm_removed
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import at_least, at_most, equivalent_nats, far_more_by_ratio, most, within
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates

TEXTS = "share of texts"


def density(model: Model, tensor: str) -> xr.DataArray:
    """Massive values per channel of the tensor and layer: Query has more heads than Key and Value."""
    norms = model.observations[f"{tensor}_norm"]
    heads = norms.sizes.get("head", norms.sizes.get("kv_head", 0))
    return model.counts(tensor).mean("layer", skipna=False) / (heads * norms.sizes["dim"])


@claim("jin-massive-in-qk-not-v", region=far_more_by_ratio())
def jin_massive_in_qk_not_v(measured: Measured) -> Conjunction:
    """Massive values concentrate in Query and Key, not in Value: at least twice as many per channel (RoPE model).

    mean over texts of count / channels of Query (and of Key) over the same of Value
    """
    value = density(measured.rope, "value")
    return both({tensor: ratio(density(measured.rope, tensor), value) for tensor in ("query", "key")})


@claim(
    "jin-low-frequency",
    region=at_least(
        0.5, "in the low frequencies: more than half in the slower half of the pairs", scale="ratio", null=0.0
    ),
    set="observe",
)
def jin_low_frequency(measured: Measured) -> Conjunction:
    """Massive Query and Key values lie in rotary channels of low frequency: most of them in the slower half (RoPE).

    sum over layers of massive values in rotary pairs D/4 .. D/2 - 1 / in all, per tensor, a ratio of means over texts
    """
    slow, fast = (counts.sum("layer", skipna=False) for counts in measured.rope.rotary_counts())
    return both({t: ratio(slow.sel(tensor=t), (slow + fast).sel(tensor=t)) for t in ("query", "key")})


@claim("gu-sink-rate", region=most())
def gu_sink_rate(measured: Measured) -> Estimate:
    """Most heads of a RoPE model are first-token sinks (epsilon = 0.3, 64 tokens, the first query included).

    mean over texts, layers and heads of [mean attention of queries 0..63 to key 0 > 0.3]
    """
    scores = measured.rope.sink_scores(convention="with_first_query")
    rate = (scores > measured.protocol.sink_threshold).where(scores.notnull()).mean(["layer", "head"], skipna=False)
    return mean(rate, unit="share of heads")


@claim("queipo-sink-and-valley-together", region=at_most(-0.3, "opposite directions: r <= -0.3", scale="rate"))
def queipo_sink_and_valley_together(measured: Measured) -> Estimate:
    """Across layers, the first token's norm and the entropy of the representations move in opposite directions (RoPE).

    mean over texts of Pearson's r over depths 1..L between |x_0| and H
    """
    others = float(correlation(measured.rope, "entropy_without_first").mean())
    remark(f"With the entropy of all rows but the first token's r is {others:.2f}")
    return mean(correlation(measured.rope, "entropy"), unit="r")


def correlation(model: Model, entropy: str) -> xr.DataArray:
    """Pearson's r over depths 1..L between the first token's norm and an entropy, per text; NaN where one is NaN."""
    norm, other = (
        model.observations[name].isel(depth=slice(1, None)).astype(float) for name in ("first_norm", entropy)
    )
    known = (norm.notnull() & other.notnull()).all("depth")  # xr.corr would leave a NaN out
    return xr.corr(norm, other, dim="depth").where(known)


@claim(
    "sun-few-and-constant",
    region=within(0.5, 10.5, "a handful: 1 to 10, counts being whole", scale="rate"),
    kind="direction",
    set="observe",
    revised="The region was 1 to 10 until these results had been seen; whole numbers on its ends could not be decided. "
    "The verdict is the same in both.",
)
def sun_few_and_constant(measured: Measured) -> Conjunction:
    """A handful of hidden-state channels exceed 1000 times the median; the largest is fixed, on the first token (RoPE).

    mean over texts of the largest number over depths of channels with |h| > 100 and |h| >= 1000 median|h|, in 1..10;
    the largest activation after the layer that writes it belongs to token 0 in most texts; and to the channel that it
    most often has in the other half, in nine texts of ten
    """
    seen, finite = measured.rope.phenomena, measured.rope.finite.all("layer")
    after = max(measured.write_layers.values()) + 1
    token, channel = (seen[f"activation_{name}"].sel(depth=after, rank=1, drop=True) for name in ("token", "channel"))
    channels = seen["massive_activation_channels"].max("depth").astype(float)
    remark(f"A text has {float(channels.mean()):.2f} such channels in RoPE")
    fixed = at_least(0.9, "fixed: in nine texts of ten", scale="rate", null=0.0)
    return Conjunction(
        (
            Part("channels", mean(channels.where(finite), unit="channels")),
            Part("on the first token", items.mean((token == 0).astype(float).where(finite), unit=TEXTS), most()),
            Part("in its channel", items.mean(usual(channel).where(finite), unit=TEXTS), fixed),
        )
    )


def usual(values: xr.DataArray) -> xr.DataArray:
    """Whether each text has the value that is most frequent in the other half, 1 or 0."""
    found = values.astype(float)
    for half in HALVES:
        own, other = (values["half"].values == which for which in (half, other_half(half)))
        seen, counts = np.unique(values.values[other], return_counts=True)
        found[own] = values.values[own] == seen[counts.argmax()]
    return found


@claim("gelberg-recalibration-recovers", region=equivalent_nats())
def gelberg_recalibration_recovers(measured: Measured) -> Estimate:
    """After recalibration the DroPE model's loss within the original context is close to the RoPE model's.

    mean over texts of the mean loss over 512 tokens of DroPE minus that of RoPE
    """
    if measured.recalibration_tokens:
        remark(f"This DroPE model was recalibrated on {measured.recalibration_tokens:,} tokens")
    drope, rope = (model.observations["nats_mean"] for model in (measured.drope, measured.rope))
    return difference(drope, rope, unit="nats/token")


@claim(
    "queipo-ablation-removes-both",
    region=at_most(0.5, "go: at most half of the sinks are left", scale="ratio"),
    kind="direction",
    layers="write",
    set="ablation",
)
def queipo_ablation_removes_both(measured: Measured) -> Conjunction:
    """Without the MLP output that writes the first token's norm, the sinks and the entropy valley go (RoPE model).

    above w: sink heads left out of those undisturbed, a ratio of means over texts, at most one half; and the smallest
    entropy after block w at least doubles
    """
    require_norm_removed(removal.checks(measured, measured.rope), "first-mlp", "RoPE")
    after, before = (removal.sinks_above(measured, measured.rope, name) for name in ("first-mlp", "baseline"))
    rising, valley = (removal.valley(measured, measured.rope, name) for name in ("first-mlp", "baseline"))
    others = measured.rope.observations["entropy_without_first"].isel(depth=slice(1, None)).min("depth").mean()
    remark(
        f"Undisturbed, the smallest entropy is {float(valley.mean()):.2f} with the first token's row (128 tokens) and "
        f"{float(others):.2f} without it (512 tokens)"
    )
    return Conjunction(
        (
            Part("sink rate", ratio(after, before)),
            Part("smallest entropy", ratio(rising, valley), far_more_by_ratio()),
        )
    )


gu_sink_rate.replicated_within(replicates("gu-sink-rate", "llama2_7b", scale="rate"), protocol="natural")
