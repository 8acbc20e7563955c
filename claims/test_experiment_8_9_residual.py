"""Experiments 8 and 9: attention's share of what a block adds to the stream, for ordinary tokens, and Q/K norms.

The share |a| / (|a| + |m|) is a median over ordinary tokens: the study's mean over all tokens is set by the first token
and one delimiter (its 0.9 % at layer 1).
"""

import xarray as xr

from dropeact.estimators import Conjunction, Estimate, Part, both, difference, ratio
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import at_most, equivalent_share, far_more_by_ratio
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates, replicates_difference

MEANS = (
    "The study averages norms over all tokens, the first and a delimiter among them; here the median ordinary token."
)


def ordinary_share(model: Model) -> xr.DataArray:
    """Attention's share of the update of an ordinary token, per text and layer."""
    return model.phenomena["attention_share"].sel(token_class="ordinary", drop=True)


@claim("layer1-attention-contribution", region=far_more_by_ratio(), layers="write", set="observe", note=MEANS)
def layer1_attention_contribution(measured: Measured) -> Estimate:
    """At the layer that writes the first token's norm, attention contributes at least twice the share in DroPE.

    mean over texts of the share at w of DroPE over that of RoPE, w selected on the other half
    """
    drope, rope = (measured.at_write(ordinary_share(model)) for model in (measured.drope, measured.rope))
    return ratio(drope, rope)


def length_factor(measured: Measured, tensor: str) -> Estimate:
    """How many times as long queries or keys are at the write layer of DroPE as in RoPE, as projected."""
    drope, rope = (
        measured.at_write(model.phenomena[f"{tensor}_length"].sel(site="projected", drop=True))
        for model in (measured.drope, measured.rope)
    )
    return ratio(drope, rope)


@claim("layer1-qk-norms", region=far_more_by_ratio(), layers="write", set="observe")
def layer1_qk_norms(measured: Measured) -> Conjunction:
    """At the layer that writes the first token's norm, Query and Key projections are at least twice as long in DroPE.

    mean over texts of mean_t |q_t| (and |k_t|) over all heads as projected, at w, DroPE over RoPE
    """
    return both({tensor: length_factor(measured, tensor) for tensor in ("query", "key")})


@claim(
    "layer0-attention-suppressed",
    region=at_most(0.5, "far less: at most half", scale="ratio"),
    layers="write",
    set="observe",
    note=MEANS,
)
def layer0_attention_suppressed(measured: Measured) -> Estimate:
    """Before the layer that writes the first token's norm, attention contributes at most half the share in DroPE.

    mean over texts and layers l < w of the share of DroPE over that of RoPE
    """
    shares = [ordinary_share(model) for model in (measured.drope, measured.rope)]
    drope, rope = (float(share.sel(layer=0).mean()) for share in shares)
    remark(f"At layer 0 itself, which the study names, DroPE has {drope:.3f} and RoPE {rope:.3f}")
    drope, rope = (measured.before_write(share) for share in shares)
    return ratio(drope, rope)


@claim(
    "balance-late-layers-equal",
    region=equivalent_share(),
    layers="write",
    set="observe",
    note=MEANS,
    revised="The mean over these layers was judged until these results had been seen, and was supported: differences "
    "of opposite sign cancel in it, as they do in the published average.",
)
def balance_late_layers_equal(measured: Measured) -> Conjunction:
    """In every layer after the one that writes the first token's norm, attention's share is alike, within 0.05.

    per layer l > w: mean over texts of the share of DroPE minus that of RoPE
    """
    later = range(max(measured.write_layers.values()) + 1, ordinary_share(measured.rope).sizes["layer"])
    remark(f"The mean over these layers is {float(late_change(measured).value):+.3f}")
    return both({f"layer {l}": change_at(l, measured) for l in later})


def change_at(layer: int, measured: Measured) -> Estimate:
    """Attention's share in one layer, DroPE minus RoPE."""
    drope, rope = (ordinary_share(model).sel(layer=layer, drop=True) for model in (measured.drope, measured.rope))
    return difference(drope, rope, unit="share")


def late_change(measured: Measured) -> Estimate:
    """Attention's share in the mean over the layers after the write layer, DroPE minus RoPE."""
    drope, rope = (measured.after_write(ordinary_share(model)) for model in (measured.drope, measured.rope))
    return difference(drope, rope, unit="share")


@layer1_attention_contribution.magnitude(replicates_difference("layer1-attention-contribution"), protocol="natural")
def share_gained_at_write(measured: Measured) -> Estimate:
    """Attention's share at the write layer, DroPE minus RoPE."""
    drope, rope = (measured.at_write(ordinary_share(model)) for model in (measured.drope, measured.rope))
    return difference(drope, rope, unit="share")


@layer0_attention_suppressed.magnitude(replicates_difference("layer0-attention-suppressed"), protocol="natural")
def share_lost_before_write(measured: Measured) -> Estimate:
    """Attention's share before the write layer, DroPE minus RoPE."""
    drope, rope = (measured.before_write(ordinary_share(model)) for model in (measured.drope, measured.rope))
    return difference(drope, rope, unit="share")


@layer1_qk_norms.magnitude(replicates("layer1-qk-norms", "ratio", scale="ratio", at=0), protocol="natural")
def qk_norm_factors(measured: Measured) -> Conjunction:
    """The same factors of query and key, each beside its own published one."""
    of_key = replicates("layer1-qk-norms", "ratio", scale="ratio", at=1)
    return Conjunction(
        (Part("query", length_factor(measured, "query")), Part("key", length_factor(measured, "key"), of_key))
    )


balance_late_layers_equal.magnitude(replicates_difference("balance-late-layers-equal"), protocol="natural")(late_change)
