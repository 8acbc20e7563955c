"""Experiment 6: the layer that writes the first token's norm, without its MLP, its attention, or for one token only.

The study's layer 1 is w, the layer that writes the norm. Costs are loss increases in nats: removing one part saturates
the loss, and a factor of perplexity says more than it knows there.
"""

from dropeact.estimators import Conjunction, Estimate, Part, both, difference, mean, ratio, removal
from dropeact.estimators.accuracy import require_norm_removed
from dropeact.estimators.regions import at_least, far_more_nats, similar_factor
from dropeact.measured import Measured
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates, replicates_factor, replicates_nats

UNIT = "nats/token"
HALF = "Asked of 96 tokens of half of the passages, evenly chosen: every layer is left out in turn."


@claim("layer1-mlp-rope-critical", region=far_more_nats(), layers="write", set="ablation", note=HALF)
def layer1_mlp_rope_critical(measured: Measured) -> Estimate:
    """In the RoPE model, the write layer without its MLP is far worse than the write layer without its attention.

    mean over texts of nats(MLP of w left out) - nats(attention of w left out)
    """
    mlp, attention = (measured.at_write(measured.rope.loss_without(part)) for part in ("mlp", "attention"))
    return difference(mlp, attention, unit=UNIT)


@claim("layer1-drope-balanced", region=similar_factor(), layers="write", set="ablation", note=HALF)
def layer1_drope_balanced(measured: Measured) -> Estimate:
    """In the DroPE model, losing the MLP or the attention of the write layer costs a similar factor of perplexity.

    loss increase without the MLP of w over that without its attention, a ratio of means over texts
    """
    mlp, attention = (measured.at_write(measured.drope.loss_without(part)) for part in ("mlp", "attention"))
    return ratio(mlp, attention, unit="times the loss increase")


@claim(
    "layer1-bos-only",
    region=at_least(0.8, "almost as bad: at least 0.8 of the loss increase", scale="ratio"),
    layers="write",
    set="ablation",
    note=HALF,
)
def layer1_bos_only(measured: Measured) -> Conjunction:
    """Removing the write layer for the first token alone is almost as bad as removing its MLP for every token.

    per model: loss increase without both outputs of w at position 0 over that without its MLP, a ratio of means
    """
    increases = {}
    for name, model in measured.models.items():
        require_norm_removed(removal.checks(measured, model), "first", name)
        first, mlp = (measured.at_write(model.loss_without(part)) for part in ("first", "mlp"))
        increases[name] = ratio(first, mlp)
    return both(increases)


@layer1_bos_only.magnitude(replicates_factor("layer1-bos-only", "rope"), protocol="natural")
def bos_only_increase(measured: Measured) -> Conjunction:
    """Loss increase of each model without both outputs of the write layer at the first token."""
    for name, model in measured.models.items():
        require_norm_removed(removal.checks(measured, model), "first", name)
    rope, drope = (
        mean(measured.at_write(model.loss_without("first")), scale="difference", unit=UNIT)
        for model in (measured.rope, measured.drope)
    )
    return Conjunction((Part("RoPE", rope), Part("DroPE", drope, replicates_factor("layer1-bos-only", "drope"))))


layer1_mlp_rope_critical.replicated_within(
    replicates_nats("layer1-mlp-rope-critical", "attention", "mlp"), protocol="natural"
)
layer1_drope_balanced.replicated_within(replicates("layer1-drope-balanced", "ratio", scale="ratio"), protocol="natural")
