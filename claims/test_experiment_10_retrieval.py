"""Experiment 10: hidden numbers, how often they are found at which length, and how an answer errs.

Both models get the same prompts: 5 depths x 20 keys at each length, plain and cued. An answer is right where the number
stands in it as a number of its own. Lengths beyond the training length belong to the set `long`.
"""

from contextlib import suppress
from functools import partial

import numpy as np
import xarray as xr

from dropeact.corpus.retrieval import ERRORS
from dropeact.estimators import (
    Conjunction,
    Estimate,
    NotApplicable,
    Part,
    Untestable,
    both,
    difference,
    items,
    tasks,
    where_tested,
)
from dropeact.estimators.accuracy import require_found
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import MORE_RATE, at_least, at_most, equivalent_rate, equivalent_share, most, within
from dropeact.estimators.tasks import ranked_first
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.verdicts import claim
from dropeact.verdicts.replication import replicates_mean

FOUND = "share of prompts"
CHANCE = 0.25  # one number and three near misses
SHORT = (
    "Asked at 256 and 512 tokens, where those lie within the training length; longer prompts are the set `long`. "
    "Answers have up to 32 tokens."
)
LONG = "Answers have up to 16 tokens."
HALF = "at most half of what is found within the training length"


def training_length(measured: Measured) -> int:
    """The length that the pair was trained at."""
    if measured.pair.training_length is None:
        raise NotApplicable("neither the pair nor its config names a training length")
    return measured.pair.training_length


def answered(asked: xr.Dataset) -> xr.Dataset:
    """Undisturbed answers; exact match and error class are NaN where there is no answer."""
    exact = tasks.found(asked)
    data = asked.assign(exact=exact, error=asked["error"].where(exact.notnull()))
    return data.sel(condition="baseline", drop=True)


def undisturbed(measured: Measured, model: Model) -> xr.Dataset:
    """Answers of the undisturbed model at the lengths within the training length."""
    data = answered(model.measurement("retrieval"))
    return data.isel(length=np.flatnonzero(data["length"].values <= training_length(measured)))


def within_training(measured: Measured, model: Model) -> xr.Dataset:
    """Answers within the training length: to the long prompts where some are that short, else to others.

    Raises
    ------
    Untestable
        When neither was measured.
    """
    data = answered(model.measurement("long_retrieval"))
    short = data.isel(length=np.flatnonzero(data["length"].values <= training_length(measured)))
    if short.sizes["length"]:
        return short
    try:
        return undisturbed(measured, model)
    except MissingMeasurement:
        raise Untestable(f"no length within {training_length(measured)} tokens: name one in --lengths") from None


def found(answers: xr.Dataset) -> xr.DataArray:
    """Exact match per item, mean of forms and lengths."""
    return answers["exact"].mean(["form", "length"], skipna=False)


def unit_at(answers: xr.Dataset | xr.DataArray) -> str:
    """Share of prompts, and of how many tokens: "within" and "beyond" say neither how far."""
    return f"{FOUND} of {tokens(answers)} tokens"


def tokens(answers: xr.Dataset | xr.DataArray) -> str:
    """The lengths of the prompts."""
    return " and ".join(f"{length:,}" for length in answers["length"].values)


def beyond_training(measured: Measured, model: Model) -> xr.Dataset:
    """Answers of the undisturbed model at the lengths beyond the training length."""
    data = answered(model.measurement("long_retrieval"))
    chosen = data.isel(length=np.flatnonzero(data["length"].values > training_length(measured)))
    if not chosen.sizes["length"]:
        raise NotApplicable(f"no length beyond the training length of {training_length(measured)} tokens was measured")
    return chosen


def remark_found(name: str, answers: xr.Dataset) -> None:
    """Say how many prompts within the training length are answered: where none are, more length takes nothing."""
    rate, n = float(found(answers).mean()), answers.sizes["text"]
    remark(f"Within the training length {name} answers {rate:.2f} of {n} prompts of {tokens(answers)} tokens")


def kept(measured: Measured, name: str, model: Model) -> Estimate:
    """What is found beyond the training length / what is found of the same prompts within it; a remark says both.

    Raises
    ------
    Untestable
        When too little is found within it.
    """
    beyond, inside = beyond_training(measured, model), within_training(measured, model)
    beyond, inside = xr.align(beyond, inside, join="inner", exclude=("length", "form", "candidate"))
    rates = [f"{float(found(answers).mean()):.2f} of those of {tokens(answers)} tokens" for answers in (inside, beyond)]
    remark(f"Of {beyond.sizes['text']} prompts, each in both forms, {name} answers {' and '.join(rates)}")
    require_found(found(inside), f"{model.title} within the training length")
    return items.ratio(found(beyond), found(inside))


def agreed(measured: Measured, model: Model) -> xr.DataArray:
    """p(Yes) against p(No) per item, length and candidate, plain form."""
    return undisturbed(measured, model)["candidate_yes"].sel(form="plain", drop=True)


@claim("retrieval-rope-within", region=most(), set="behaviour", note=SHORT)
def retrieval_rope_within(measured: Measured) -> Estimate:
    """RoPE retrieves most hidden numbers within its training length.

    mean over prompts, both forms and all lengths up to the training length, of exact match
    """
    answers = undisturbed(measured, measured.rope)
    return items.mean(found(answers), unit=unit_at(answers))


@claim(
    "retrieval-rope-collapses-beyond",
    region=at_most(0.5, f"collapses: {HALF}", scale="ratio"),
    set="long",
    note=LONG,
)
def retrieval_rope_collapses_beyond(measured: Measured) -> Estimate:
    """Beyond its training length RoPE retrieves at most half of what it retrieves within.

    exact match beyond the training length / within it
    """
    return kept(measured, "RoPE", measured.rope)


@claim("retrieval-drope-beyond", region=most(), set="long", note=LONG)
def retrieval_drope_beyond(measured: Measured) -> Estimate:
    """DroPE retrieves most hidden numbers beyond the training length.

    mean over prompts, both forms and all lengths beyond the training length, of exact match
    """
    answers = beyond_training(measured, measured.drope)
    with suppress(Untestable, MissingMeasurement):
        remark_found("DroPE", within_training(measured, measured.drope))
    return items.mean(found(answers), unit=unit_at(answers))


@claim(
    "gelberg-extends-context",
    region=at_most(0.5, f"does not keep: {HALF}", scale="ratio"),
    set="long",
    note=f"Retrieval only: the perplexity beyond the training length is not part of this record. {LONG}",
)
def gelberg_extends_context(measured: Measured) -> Conjunction:
    """Beyond the training length DroPE keeps more than half of its retrieval and RoPE does not.

    per model: exact match beyond the training length / within it
    """
    keeps = at_least(0.5, "keeps: more than half of what is found within the training length", scale="ratio", null=0.0)
    shares = {name: partial(kept, measured, name, model) for name, model in measured.models.items()}
    return where_tested(shares, {"DroPE": keeps})


@claim(
    "retrieval-truncation-dominates",
    region=at_least(0.5, "most: more than half of the wrong answers", scale="ratio", null=0.0),
    set="behaviour",
    note=f"The published 45 % also count numbers with a digit too many. {SHORT}",
)
def retrieval_truncation_dominates(measured: Measured) -> Conjunction:
    """Most of DroPE's wrong answers are numbers one digit too short or too long, and few are near misses.

    wrong answers of each class / wrong answers, over forms, and lengths within the training length; near misses (same
    length, one or two digits wrong) at most a quarter
    """
    answers = undisturbed(measured, measured.drope)
    remark_found("DroPE", answers)
    errors = answers["error"]

    def share(of: xr.DataArray) -> xr.DataArray:
        return of.where(errors.notnull()).mean(["form", "length"], skipna=False)

    wrong = share(errors != ERRORS.index("right"))
    names = ("one digit more or less", "near miss")
    shares = {name: items.ratio(share(errors == ERRORS.index(name)), wrong) for name in names}
    few = at_most(0.25, "few: at most a quarter of the wrong answers", scale="ratio", null=0.0)
    return Conjunction(tuple(Part(n, s, few if n == "near miss" else None) for n, s in shares.items()))


@claim(
    "retrieval-prompt-sensitivity",
    region=at_least(MORE_RATE, "helps: 0.05 more of the prompts answered"),
    set="behaviour",
    note=SHORT,
)
def retrieval_prompt_sensitivity(measured: Measured) -> Conjunction:
    """Announcing the question in the prompt helps DroPE and makes no difference to RoPE.

    per model: exact match cued - plain; DroPE at least 0.05, RoPE within 0.10 of 0
    """
    gains = {name: partial(gain, measured, model) for name, model in measured.models.items()}
    return where_tested(gains, {"RoPE": equivalent_rate()})


def gain(measured: Measured, model: Model) -> Estimate:
    """Exact match cued - plain.

    Raises
    ------
    Untestable
        When too little is found in the better form.
    """
    exact = undisturbed(measured, model)["exact"].mean("length", skipna=False)
    forms = {form: exact.sel(form=form, drop=True) for form in ("plain", "cued")}
    require_found(max(forms.values(), key=lambda values: float(values.mean())), f"{model.title} in the better form")
    return items.difference(forms["cued"], forms["plain"], unit=FOUND)


@claim(
    "retrieval-ranking",
    region=at_least(CHANCE + MORE_RATE, "above chance by 0.05", scale="rate", null=CHANCE),
    set="behaviour",
    note=SHORT,
)
def retrieval_ranking(measured: Measured) -> Conjunction:
    """By p(Yes), RoPE ranks the exact number above its near misses within the training length; DroPE is at chance.

    per model: mean over prompts and lengths of [p(Yes | exact) is the largest of four, a tie being none]; DroPE within
    0.10 of 0.25
    """
    first = {}
    for name, model in measured.models.items():
        yes = agreed(measured, model)
        remark_ranked(measured, model, name)
        first[name] = items.mean(ranked_first(yes).mean("length", skipna=False), unit=unit_at(yes))
    chance = within(CHANCE - 0.10, CHANCE + 0.10, "at chance: within 0.10 of one in four", scale="rate")
    return Conjunction((Part("RoPE", first["RoPE"]), Part("DroPE", first["DroPE"], chance)))


def remark_ranked(measured: Measured, model: Model, name: str) -> None:
    """Say how often the exact number is the most probable of the four as an answer: p(Yes) is another question."""
    scores = undisturbed(measured, model)["candidate_log_probability"].sel(form="plain", drop=True)
    first = float(ranked_first(scores).mean())
    remark(f"By log-probability {name} ranks the exact number first in {first:.2f} of the plain prompts")


@claim("retrieval-verification", region=equivalent_share(), set="behaviour", note=SHORT)
def retrieval_verification(measured: Measured) -> Conjunction:
    """The p(Yes) of the exact number is within 0.05 of that of a near miss, in both models.

    per model: mean over prompts and lengths of p(Yes | exact) - mean p(Yes | near miss), p(Yes) against p(No)
    """
    for name, model in measured.models.items():
        remark_places(agreed(measured, model), name)
    return both({name: advantage(agreed(measured, model)) for name, model in measured.models.items()})


def advantage(asked: xr.DataArray) -> Estimate:
    """p(Yes) of the exact number minus the mean of its near misses, mean over lengths."""
    yes = asked.mean("length", skipna=False)
    near = yes.drop_sel(candidate="exact").mean("candidate", skipna=False)
    return difference(yes.sel(candidate="exact", drop=True), near, unit="probability")


@retrieval_verification.magnitude(replicates_mean("retrieval-verification", "rope"), protocol="natural")
def verification_advantage(measured: Measured) -> Conjunction:
    """The same differences of p(Yes), each beside its model's published one, the mean over three lengths."""
    rope, drope = (advantage(agreed(measured, model)) for model in (measured.rope, measured.drope))
    return Conjunction((Part("RoPE", rope), Part("DroPE", drope, replicates_mean("retrieval-verification", "drope"))))


def remark_places(asked: xr.DataArray, name: str) -> None:
    """Say how often the exact number has the largest and the smallest p(Yes): a small difference can be constant."""
    first, last = (float(ranked_first(scores).mean()) for scores in (asked, -asked))
    remark(
        f"Of the exact number and three near misses {name} gives the exact one the largest p(Yes) in {first:.2f} of "
        f"the prompts, the smallest in {last:.2f} (chance {CHANCE:g})"
    )
