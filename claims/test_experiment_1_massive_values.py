"""Experiment 1: how many massive Query, Key and Value entries each model has, and where.

A norm M[head, dim] over one text is massive where it exceeds lambda = 5 times the layer's mean (Jin et al. 2025).
"""

import xarray as xr

from dropeact.estimators import Conjunction, Estimate, only, ratio
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import at_least, equivalent_count, far_more_by_ratio, fewer_by_ratio
from dropeact.measured import Measured
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates


def totals(measured: Measured, tensor: str) -> Estimate:
    """DroPE's count over RoPE's, each summed over the layers of a text."""
    return told(*(model.counts(tensor).sum("layer", skipna=False) for model in (measured.drope, measured.rope)))


def told(drope: xr.DataArray, rope: xr.DataArray) -> Estimate:
    """DroPE's count over RoPE's; a remark gives both: a ratio of small counts says little."""
    remark(f"A text has {float(rope.mean()):.1f} in RoPE, {float(drope.mean()):.1f} in DroPE")
    return ratio(drope, rope)


@claim("massive-query-reduction", region=fewer_by_ratio())
def massive_query_reduction(measured: Measured) -> Estimate:
    """DroPE has fewer massive Query values than RoPE, summed over layers.

    mean over texts of sum_l count_drope[l] / mean over texts of sum_l count_rope[l]
    """
    return totals(measured, "query")


@claim("massive-key-reduction", region=fewer_by_ratio())
def massive_key_reduction(measured: Measured) -> Estimate:
    """DroPE has fewer massive Key values than RoPE, summed over layers.

    mean over texts of sum_l count_drope[l] / mean over texts of sum_l count_rope[l]
    """
    return totals(measured, "key")


@claim("massive-value-unchanged", region=equivalent_count())
def massive_value_unchanged(measured: Measured) -> Estimate:
    """The number of massive entries of the Value tensor is equivalent in both models, within 10 %.

    mean over texts of sum_l count_drope[l] / mean over texts of sum_l count_rope[l]
    """
    return totals(measured, "value")


@claim("massive-layer1-surge", region=far_more_by_ratio(), layers="write")
def massive_layer1_surge(measured: Measured) -> Estimate:
    """At the layer that writes the first token's norm, DroPE has at least twice as many massive Query values.

    mean over texts of count_drope[w] / mean over texts of count_rope[w], w selected on the other half
    """
    return told(*(measured.at_write(model.counts("query")) for model in (measured.drope, measured.rope)))


@claim(
    "massive-layer1-only",
    region=at_least(1.0, "more at the write layer; not more at any other", scale="ratio"),
    layers="write",
    kind="direction",
)
def massive_layer1_only(measured: Measured) -> Conjunction:
    """The layer that writes the first token's norm is the only one where DroPE has more massive Query values.

    per layer l: mean over texts of count_drope[l] / mean over texts of count_rope[l], above 1 at w and not elsewhere; a
    layer where neither model has any has no more in DroPE
    """
    drope, rope = measured.drope.counts("query"), measured.rope.counts("query")
    written = sorted(set(measured.write_layers.values()))
    some = ((drope + rope).sum("text", skipna=False) != 0).values  # NaN stays in
    excess = {
        int(layer): ratio(drope.sel(layer=layer, drop=True), rope.sel(layer=layer, drop=True))
        for layer, any_here in zip(rope["layer"].values, some, strict=True)
        if any_here or layer in written
    }
    return only(excess, written, bound=1.0)


@claim("massive-late-layers-fall", region=fewer_by_ratio(), layers="write")
def massive_late_layers_fall(measured: Measured) -> Estimate:
    """After the layer that writes the first token's norm, a layer of DroPE has on average fewer massive Query values.

    mean over texts and layers l > w of count_drope[l] / the same of count_rope[l], w selected on the other half
    """
    drope, rope = (model.counts("query") for model in (measured.drope, measured.rope))
    excess = (drope - rope).mean("text")
    later = excess.sel(layer=excess["layer"] > max(measured.write_layers.values()))
    more = [
        f"{layer} ({value:+.1f})" for layer, value in zip(later["layer"].values, later.values, strict=True) if value > 0
    ]
    remark(f"Layers in which a text has more in DroPE: {', '.join(more) or 'none'}")
    return told(*map(measured.after_write, (drope, rope)))


massive_query_reduction.replicated_within(replicates("massive-query-reduction", "change", scale="ratio"))
massive_key_reduction.replicated_within(replicates("massive-key-reduction", "change", scale="ratio"))
massive_value_unchanged.replicated_within(replicates("massive-value-unchanged", "change", scale="ratio"))
massive_layer1_surge.replicated_within(replicates("massive-layer1-surge", "ratio", scale="ratio"))
massive_late_layers_fall.replicated_within(replicates("massive-late-layers-fall", "change", scale="ratio"))
