"""Experiment 5: what is written into the stream through the first token's value."""

from dropeact.estimators import Estimate, ratio
from dropeact.estimators.regions import more_by_ratio, similar_factor
from dropeact.measured import Measured
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates_factors


@claim(
    "bos-write-higher",
    region=more_by_ratio(),
    set="observe",
    note="Attention mass times value norm ignores W_O and has no reference; `write_share` in the same measurement has "
    "both. The published score of DroPE at layer 1 is an artefact of clamped scores.",
)
def bos_write_higher(measured: Measured) -> Estimate:
    """DroPE writes more through the first token than RoPE: attention mass times value norm.

    mean over texts, layers and heads of |v_0| mean_{t >= 1} a_t0, DroPE over RoPE
    """
    drope, rope = (model.phenomena["write_score"].mean(["layer", "head"]) for model in (measured.drope, measured.rope))
    return ratio(drope, rope)


@claim("bos-v-ablation-similar", region=similar_factor(), set="ablation")
def bos_v_ablation_similar(measured: Measured) -> Estimate:
    """Zeroing the first token's value vectors in all layers costs both models a similar factor of perplexity.

    loss increase of DroPE over that of RoPE, a ratio of means over texts
    """
    drope, rope = (model.nats("first-values") - model.nats("baseline") for model in (measured.drope, measured.rope))
    return ratio(drope, rope)


bos_v_ablation_similar.replicated_within(
    replicates_factors("bos-v-ablation-similar", "drope", "rope"), protocol="natural"
)
