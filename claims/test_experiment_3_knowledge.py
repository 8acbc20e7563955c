"""Experiment 3: what disrupting massive values takes from stored facts, and what from the context.

A fact is right where the model finds its true completion more probable than a matched false one; a passkey where the
answer has the number. Every item that was asked is in the denominator. A task counts only where the undisturbed model
is clear of chance; both models lose equally many dimensions, chosen by their norm on the other half of the passages.
"""

from collections.abc import Mapping

from dropeact.estimators import Conjunction, Estimate, Part, Untestable, items, tasks
from dropeact.estimators.accuracy import Bounded, lost_share
from dropeact.estimators.regions import MORE_RATE, at_least, at_most, equivalent_rate, higher_rate, lower_rate
from dropeact.estimators.tasks import Answers
from dropeact.measured import Measured, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates

ACCURACY = "share of items"
LOST = "share of the accuracy above chance"


def counted(model: Model, names: tuple[str, ...], condition: str, score: str = "correct") -> dict[str, Answers]:
    """The tasks that this model performs undisturbed: right or wrong per item, undisturbed and under a condition."""
    model.require_dose()
    knowledge, retrieval = model.measurement("knowledge"), model.measurement("retrieval")
    return tasks.counted(knowledge, retrieval, names, condition, name=model.title, score=score)


def passkeys(measured: Measured, name: str, condition: str) -> Answers:
    """Exact match per prompt, undisturbed and under a condition; a remark says how the number is ranked."""
    measured.models[name].require_dose()
    retrieval = measured.models[name].measurement("retrieval")
    tasks.remark_ranking(retrieval, condition, name=name)
    return tasks.passkeys(retrieval, condition, name=name)


def lost(model: Model, names: tuple[str, ...], condition: str) -> dict[str, Bounded]:
    """What a condition takes of each task that the model performs, as a share of its accuracy above chance."""
    return tasks.lost_shares(counted(model, names, condition))


def beyond(contextual: Mapping[str, Bounded], parametric: Mapping[str, Bounded]) -> Estimate:
    """Mean over the contextual tasks minus mean over the parametric ones."""
    signed = ((1, contextual), (-1, parametric))
    parts = [(sign / len(kind), task) for sign, kind in signed for task in kind.values()]
    return items.combined(parts, unit=LOST)


@claim(
    "knowledge-rope-contextual-loss",
    region=higher_rate(),
    set="behaviour",
    note="Dropping unparsed answers of parametric tasks and counting them wrong in contextual ones makes this true of "
    "anything that harms the format of an answer; here nothing has to be parsed on either side.",
    revised="That a pair of facts is one observation was decided when these results had been seen; fact by fact they "
    "left this undecided.",
)
def knowledge_rope_contextual_loss(measured: Measured) -> Estimate:
    """In RoPE, disrupting massive values costs contextual tasks more than parametric ones.

    mean over contextual tasks of R minus mean over parametric ones; R = 1 - (accuracy disrupted - chance) / (accuracy
    undisturbed - chance); contextual: reviews, passkey; parametric: cities, sports
    """
    return beyond(*(lost(measured.rope, names, "massive") for names in (tasks.CONTEXTUAL, tasks.PARAMETRIC)))


@claim(
    "jin-contextual-over-parametric",
    region=higher_rate(),
    set="behaviour",
    note="The random control is four draws of channels in either half, each for a quarter of the "
    "items; items under one draw count as independent, so the interval has not all of its chance. The published "
    "figures are of massive values replaced by the mean; here they are zeroed.",
)
def jin_contextual_over_parametric(measured: Measured) -> Estimate:
    """Zeroing massive values costs contextual tasks more than parametric ones, beyond a random control (RoPE model).

    mean over contextual tasks of R minus mean over parametric ones, massive values zeroed, minus the same with as many
    random dimensions zeroed; R as in knowledge-rope-contextual-loss
    """
    kinds = []
    for names in (tasks.CONTEXTUAL, tasks.PARAMETRIC):
        massive, random = (lost(measured.rope, names, condition) for condition in ("massive", "random"))
        kinds.append({task: massive[task] - random[task] for task in massive})
    return beyond(*kinds)


@claim("knowledge-drope-robust", region=lower_rate(), set="behaviour")
def knowledge_drope_robust(measured: Measured) -> Estimate:
    """Disruption costs DroPE less contextual accuracy than RoPE.

    mean over contextual tasks of [accuracy undisturbed - disrupted] of DroPE minus the same of RoPE; tasks that both
    models perform
    """
    drope, rope = (counted(model, tasks.CONTEXTUAL, "massive") for model in (measured.drope, measured.rope))
    if not (common := [task for task in drope if task in rope]):
        raise Untestable("no contextual task that both models perform")
    lost = {task: (drope[task][0] - drope[task][1]) - (rope[task][0] - rope[task][1]) for task in common}
    return items.average(lost, farthest=2.0, unit=ACCURACY)


@claim(
    "knowledge-drope-parametric-unharmed",
    region=at_least(-MORE_RATE, "no lower: less than 0.05 of accuracy lost, the difference that counts as lower"),
    set="behaviour",
)
def knowledge_drope_parametric_unharmed(measured: Measured) -> Estimate:
    """Disruption lowers DroPE's parametric accuracy by less than 0.05, if at all.

    mean over cities and sports of [accuracy disrupted - undisturbed]
    """
    performed = counted(measured.drope, tasks.PARAMETRIC, "massive")
    gained = {task: after - before for task, (before, after) in performed.items()}
    return items.average(gained, farthest=1.0, unit=ACCURACY)


@claim(
    "passkey-rope-collapses",
    region=at_most(0.5, "collapses: at most half of the undisturbed accuracy", scale="ratio"),
    set="behaviour",
)
def passkey_rope_collapses(measured: Measured) -> Estimate:
    """RoPE retrieves a passkey at most half as often once its massive values are disrupted.

    exact match disrupted / undisturbed, mean of both prompt forms at the shortest length
    """
    before, after = passkeys(measured, "RoPE", "massive")
    return items.ratio(after, before)


@claim("passkey-drope-unaffected", region=equivalent_rate(), set="behaviour")
def passkey_drope_unaffected(measured: Measured) -> Estimate:
    """DroPE retrieves a passkey as often with its massive values disrupted as without, within 0.10.

    exact match disrupted - undisturbed, mean of both prompt forms at the shortest length
    """
    before, after = passkeys(measured, "DroPE", "massive")
    return items.difference(after, before, unit=ACCURACY)


def relative_drops(model: Model, id: str) -> Conjunction:
    """Mean share of the accuracy that disruption takes of either kind of task, by yes/no answers as in the study.

    mean over tasks of 1 - accuracy disrupted / accuracy undisturbed; an answer that is neither is wrong and stays in
    the denominator. Of two completions a model that knows nothing has half right: that accuracy cannot fall to 0.

    Raises
    ------
    Untestable
        When a task is at chance undisturbed: the published means are of both tasks of a kind.
    """
    parts = []
    for figure, names in (("parametric", tasks.PARAMETRIC), ("contextual", tasks.CONTEXTUAL)):
        performed = counted(model, names, "massive", score="answer_correct")
        if left_out := sorted(set(names) - set(performed)):
            raise Untestable(f"the published mean has {', '.join(left_out)} in it, at chance undisturbed")
        drops = {task: lost_share(before, after, chance=0.0) for task, (before, after) in performed.items()}
        mean = items.combined([(1 / len(drops), drop) for drop in drops.values()], unit="share of the accuracy")
        parts.append(Part(figure, mean, replicates(id, figure, scale="difference")))
    return Conjunction(tuple(parts))


@knowledge_rope_contextual_loss.magnitude(
    replicates("knowledge-rope-contextual-loss", "contextual", scale="difference"), protocol="natural"
)
def rope_drops(measured: Measured) -> Conjunction:
    """What disruption takes from RoPE's accuracy, relative to it: parametric tasks and contextual ones."""
    return relative_drops(measured.rope, "knowledge-rope-contextual-loss")


@knowledge_drope_robust.magnitude(
    replicates("knowledge-drope-robust", "contextual", scale="difference"), protocol="natural"
)
def drope_drops(measured: Measured) -> Conjunction:
    """What disruption takes from DroPE's accuracy, relative to it: parametric tasks and contextual ones."""
    return relative_drops(measured.drope, "knowledge-drope-robust")
