"""Experiment 5: what is written into the stream through the first token's value."""

from dropeact.estimators import Estimate, EveryArgmax, argmax, every, ratio
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import at_least, more_by_ratio, similar_factor
from dropeact.measured import Measured
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates_factors, replicates_ratio


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
    drope, rope = (
        model.phenomena["write_score"].mean(["layer", "head"], skipna=False)
        for model in (measured.drope, measured.rope)
    )
    if all("write_share" in model.phenomena for model in (measured.drope, measured.rope)):
        shares = [float(model.phenomena["write_share"].mean()) for model in (measured.drope, measured.rope)]
        remark(f"By write share DroPE writes {shares[0]:.3f} of a head's output so, RoPE {shares[1]:.3f}")
    return ratio(drope, rope)


@claim(
    "bos-write-peak-layer",
    region=at_least(0.0, "largest: the lead of the claimed layers"),
    layers="write",
    set="observe",
    note="DroPE's published maximum at layer 1 is an artefact of clamped scores.",
)
def bos_write_peak_layer(measured: Measured) -> EveryArgmax:
    """RoPE writes most through the first token in a late layer, DroPE at the layer that writes its norm.

    argmax over layers of the mean over heads of |v_0| mean_{t >= 1} a_t0: of RoPE in the last third of the layers, of
    DroPE at w
    """
    rope, drope = (
        model.phenomena["write_score"].mean("head", skipna=False) for model in (measured.rope, measured.drope)
    )
    late = [layer for layer in rope["layer"].values.tolist() if layer >= 2 * rope.sizes["layer"] / 3]
    at_write = {half: [layer] for half, layer in measured.write_layers.items()}
    return every(
        {
            "RoPE": argmax(rope, dict.fromkeys(measured.write_layers, late), unit="norm ahead"),
            "DroPE": argmax(drope, at_write, unit="norm ahead"),
        }
    )


@claim("bos-v-ablation-similar", region=similar_factor(), set="ablation")
def bos_v_ablation_similar(measured: Measured) -> Estimate:
    """Zeroing the first token's value vectors in all layers costs both models a similar factor of perplexity.

    loss increase of DroPE over that of RoPE, a ratio of means over texts
    """
    drope, rope = (model.nats("first-values") - model.nats("baseline") for model in (measured.drope, measured.rope))
    return ratio(drope, rope, unit="times the loss increase")


bos_write_higher.replicated_within(replicates_ratio("bos-write-higher"), protocol="natural")
bos_v_ablation_similar.replicated_within(
    replicates_factors("bos-v-ablation-similar", "drope", "rope"), protocol="natural"
)
