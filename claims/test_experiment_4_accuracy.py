"""Experiment 4, accuracy: what is left of every task when the MLP that writes the first token's norm is left out.

The MLP is dropped for absolute position 0 only, which no decoding step repeats, at the layer that writes the norm in
the other half of the passages. Where the norm or the sinks stay, nothing follows: such a record is untestable.
"""

from functools import partial

from dropeact.estimators import Conjunction, Estimate, Part, both, items, tasks, where_tested
from dropeact.estimators.accuracy import require_removed
from dropeact.estimators.regions import at_most, equivalent_rate
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim

ACCURACY = "share of items"
CONDITION = "first-mlp"


def performed(model: Model, condition: str) -> dict[str, tasks.Answers]:
    """Every task that the model performs undisturbed; the intervention did what it is named for."""
    knowledge, retrieval = model.measurement("knowledge"), model.measurement("retrieval")
    require_removed(knowledge, condition, model.title)
    return tasks.counted(knowledge, retrieval, tasks.TASKS, condition, name=model.title)


@claim(
    "bos-mlp-accuracy-rope",
    region=at_most(0.10, "at chance: less than 0.10 above it", null=1.0),
    layers="write",
    set="behaviour",
    note="The published zeros come from a hook that took the MLP of every generated token too; here position 0 alone.",
)
def bos_mlp_accuracy_rope(measured: Measured) -> Conjunction:
    """Under first-token MLP ablation RoPE is at chance on every task that it performs undisturbed.

    per task: mean over items of right - chance, MLP of the write layer dropped for the first token
    """
    answers = performed(measured.rope, CONDITION)
    return Conjunction(
        tuple(
            Part(task, items.mean(after, scale="difference", chance=tasks.chance(task), unit=ACCURACY))
            for task, (_, after) in answers.items()
        )
    )


@claim("bos-mlp-accuracy-drope", region=equivalent_rate(), layers="write", set="behaviour")
def bos_mlp_accuracy_drope(measured: Measured) -> Conjunction:
    """Under first-token MLP ablation DroPE keeps its accuracy, within 0.10, on every task that it performs undisturbed.

    per task: mean over items of right under ablation - right undisturbed
    """
    answers = performed(measured.drope, CONDITION)
    return both({task: items.difference(after, before, unit=ACCURACY) for task, (before, after) in answers.items()})


@claim(
    "qk-disruption-passkey-both",
    region=at_most(0.5, "destroys: at most half of the undisturbed accuracy", scale="ratio"),
    set="behaviour",
)
def qk_disruption_passkey_both(measured: Measured) -> Conjunction:
    """Disrupting massive values at least halves how often each model retrieves a passkey.

    per model: exact match disrupted / undisturbed, mean of both prompt forms at the shortest length
    """
    for name, model in measured.models.items():
        model.require_dose()
        tasks.remark_ranking(model.measurement("retrieval"), "massive", name=name)
    return where_tested({name: partial(left, name, model) for name, model in measured.models.items()})


def left(name: str, model: Model) -> Estimate:
    """Exact match disrupted / undisturbed; untestable where too little is found undisturbed."""
    before, after = tasks.passkeys(model.measurement("retrieval"), "massive", name=name)
    return items.ratio(after, before)
