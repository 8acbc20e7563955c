"""Experiment 4, perplexity: the first token without its MLP output at the layer that writes its norm.

Absolute position 0 only, at w, the layer that writes the norm in the other half of the passages. The study took the
layer with the largest ratio of norms, which in the DroPE model lay one layer too late: there the norm stayed. Where it
stays, nothing follows: such a record is untestable.
"""

from contextlib import suppress

import xarray as xr

from dropeact.estimators import Estimate, mean, removal
from dropeact.estimators.accuracy import require_removed
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import destroys, equivalent_nats
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates_nats

UNIT = "nats/token"
CONDITION = "first-mlp"


def increase(measured: Measured, model: Model) -> xr.DataArray:
    """Loss increase per text, where the norm is gone and the sinks fell."""
    require_removed(removal.checks(measured, model), CONDITION, model.title)
    return model.nats(CONDITION) - model.nats("baseline")


@claim("bos-mlp-ablation-rope", region=destroys(), layers="write", set="ablation")
def bos_mlp_ablation_rope(measured: Measured) -> Estimate:
    """Removing the first token's MLP output at the layer that writes its norm destroys the RoPE model.

    mean over texts of nats(MLP of x_0 left out at w) - nats(undisturbed)
    """
    return mean(increase(measured, measured.rope), scale="difference", unit=UNIT)


@claim(
    "bos-mlp-ablation-drope",
    region=equivalent_nats(),
    layers="write",
    set="ablation",
    note="Published at layer 2, where the first token's norm had been written already and stayed at 612 of 618; the "
    "study's own ablation of its layer 1 (experiment 6) costs the DroPE model 5.1 nats.",
)
def bos_mlp_ablation_drope(measured: Measured) -> Estimate:
    """Removing the first token's MLP output at the layer that writes its norm leaves the DroPE model as it was.

    mean over texts of nats(MLP of x_0 left out at w) - nats(undisturbed)
    """
    with suppress(MissingMeasurement):
        remark_layers(measured, measured.drope)
    return mean(increase(measured, measured.drope), scale="difference", unit=UNIT)


def remark_layers(measured: Measured, model: Model) -> None:
    """Say at which other layer the same ablation costs most: the write layer need not be alone."""
    costs = model.loss_without(CONDITION).mean("text")
    written = sorted(set(measured.write_layers.values()))
    others = costs.drop_sel(layer=written)
    most = int(others["layer"].values[int(others.argmax("layer"))])
    remark(
        f"In 96 tokens of half of the passages it costs {float(costs.sel(layer=written[0])):.2f} nats at layer "
        f"{written[0]}, and at layer {most} {float(others.max()):.2f}"
    )


bos_mlp_ablation_rope.replicated_within(
    replicates_nats("bos-mlp-ablation-rope", "baseline_ppl", "ablated_ppl"), protocol="natural"
)
bos_mlp_ablation_drope.replicated_within(
    replicates_nats("bos-mlp-ablation-drope", "baseline_ppl", "ablated_ppl"), protocol="natural"
)
