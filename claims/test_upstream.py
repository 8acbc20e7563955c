"""Upstream findings: what the papers that the study builds on say, asked of this pair."""

from dropeact.estimators import Conjunction, Estimate, both, difference, mean, ratio
from dropeact.estimators.regions import equivalent_nats, far_more_by_ratio, most
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates


def density(model: Model, tensor: str):
    """Massive values per channel of the tensor and layer: Query has more heads than Key and Value."""
    norms = model.observations[f"{tensor}_norm"]
    heads = norms.sizes.get("head", norms.sizes.get("kv_head", 0))
    return model.counts(tensor).mean("layer") / (heads * norms.sizes["dim"])


@claim("jin-massive-in-qk-not-v", region=far_more_by_ratio())
def jin_massive_in_qk_not_v(measured: Measured) -> Conjunction:
    """Massive values concentrate in Query and Key, not in Value: at least twice as many per channel (RoPE model).

    mean over texts of count / channels of Query (and of Key) over the same of Value
    """
    value = density(measured.rope, "value")
    return both({tensor: ratio(density(measured.rope, tensor), value) for tensor in ("query", "key")})


@claim("gu-sink-rate", region=most())
def gu_sink_rate(measured: Measured) -> Estimate:
    """Most heads of a RoPE model are first-token sinks (epsilon = 0.3, 64 tokens, the first query included).

    mean over texts, layers and heads of [mean attention of queries 0..63 to key 0 > 0.3]
    """
    scores = measured.rope.sink_scores(convention="with_first_query")
    rate = (scores > 0.3).where(scores.notnull()).mean(["layer", "head"], skipna=False)
    return mean(rate, unit="share of heads")


@claim("gelberg-recalibration-recovers", region=equivalent_nats())
def gelberg_recalibration_recovers(measured: Measured) -> Estimate:
    """After recalibration the DroPE model's loss within the original context is close to the RoPE model's.

    mean over texts of the mean loss over 512 tokens of DroPE minus that of RoPE
    """
    drope, rope = (model.observations["nats_mean"] for model in (measured.drope, measured.rope))
    return difference(drope, rope, unit="nats/token")


gu_sink_rate.replicated_within(replicates("gu-sink-rate", "llama2_7b", scale="rate"), protocol="natural")
