"""Stored answers -> tables: accuracy by condition; hidden numbers answered, ranked and verified; the same by half.

Rates carry Wilson's interval over prompts, or the one that claims have over pairs of facts. What was not measured, or
not of an earlier version's results, is a dash.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from dropeact.corpus.retrieval import FORMS
from dropeact.estimators import items, tasks
from dropeact.estimators.accuracy import wilson
from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured
from dropeact.report.observed.table import NONE, Table, of_rows
from dropeact.report.words import NAMES, number

PER_PROMPT = ("retrieval", "long_retrieval")
CONDITIONS = {
    "baseline": "undisturbed",
    "massive": "massive values zeroed",
    "random": "as many random ones zeroed",
    "first-mlp": "first token's MLP left out",
    "combined": "both",
}
Right = Callable[[xr.Dataset], xr.DataArray]


def by_log_probability(asked: xr.Dataset) -> xr.DataArray:
    """Whether the exact number is the most probable answer of the four, a tie being none; NaN where not ranked."""
    return tasks.ranked_first(asked["candidate_log_probability"])


def by_yes(asked: xr.Dataset) -> xr.DataArray:
    """Whether p(Yes) is largest for the exact number, a tie being none; NaN where not verified."""
    return tasks.ranked_first(asked["candidate_yes"])


def told_apart(asked: xr.Dataset) -> xr.DataArray:
    """p(Yes | exact) - mean p(Yes | near miss) per prompt; NaN where not verified."""
    yes = asked["candidate_yes"]
    return yes.sel(candidate="exact", drop=True) - yes.drop_sel(candidate="exact").mean("candidate", skipna=False)


RATES: dict[str, Right] = {
    "exact": lambda asked: asked["exact"],
    "substring": lambda asked: asked["substring"],
    "first by log-probability": by_log_probability,
    "first by p(Yes)": by_yes,
}


def shared_length(retrieval: Sequence[xr.Dataset]) -> int | None:
    """The shortest length at which every model was asked under each of its conditions; None where there is none."""
    asked = [set(data["length"].values[_asked(data).values].tolist()) for data in retrieval]
    return min(set.intersection(*asked), default=None) if asked else None


def _asked(data: xr.Dataset) -> xr.DataArray:
    return data["exact"].notnull().all([dim for dim in data["exact"].dims if dim != "length"])


def accuracies(measured: Measured) -> Table | None:
    """Accuracy of each task by model and condition: facts, and hidden numbers in both forms at the shared length."""
    knowledge, retrieval = (dict(_named(measured, name)) for name in ("knowledge", "retrieval"))
    length = shared_length(list(retrieval.values()))
    known = {name for data in (*knowledge.values(), *retrieval.values()) for name in data["condition"].values.tolist()}
    shown = [name for name in CONDITIONS if name in known]
    rows = []
    for task in (*tasks.PARAMETRIC, *tasks.CONTEXTUAL[:1]):
        for model, data in knowledge.items():
            facts = data["correct"].isel(text=np.flatnonzero(data["task"].values == task)).astype(float)
            if (pairs := tasks.by_pair(facts)).sizes["text"]:
                rows.append([task, model, f"{pairs.sizes['text']} pairs", *_by_condition(pairs, shown, rate_of_pairs)])
    for form in FORMS if length is not None else ():
        for model, data in retrieval.items():
            if form in data["form"].values:
                rows += _of_numbers(model, data.sel(form=form, length=length, drop=True), form, shown)
    return of_rows(
        "3",
        "Accuracy by condition",
        "Share right, with a 95 % interval over n: pairs of facts that swap their completions, or prompts (Wilson's). "
        "A fact is right where its true completion is more probable than the false one (chance 0.5), a hidden number "
        "where it stands in the answer (chance 0); ranked: where it is more probable "
        "as the answer than each of three near misses (chance 0.25)"
        + (f". Numbers at {length} tokens, the length that all conditions share." if length is not None else "."),
        ["model", "n", *(CONDITIONS[name] for name in shown)],
        rows,
    )


def _of_numbers(model: str, asked: xr.Dataset, form: str, shown: Sequence[str]) -> list[list[str]]:
    """Rows of hidden numbers answered, and ranked where an earlier version's results have it."""
    ways: dict[str, Right] = {form: RATES["exact"], f"{form}, ranked": by_log_probability}
    return [
        [f"hidden numbers, {way}", model, str(asked.sizes["text"]), *_by_condition(right(asked), shown)]
        for way, right in ways.items()
        if way == form or "candidate_log_probability" in asked
    ]


def found(measured: Measured) -> Table | None:
    """Undisturbed answers by model, form and length: found, contained, ranked first, and told from a near miss."""
    rows = [
        [model, form, f"{length:,}", str(asked.sizes["text"]), *_rates(asked), _mean(asked, told_apart)]
        for name in PER_PROMPT
        for model, form, length, asked in _undisturbed(measured, name)
    ]
    return of_rows(
        "10",
        "Hidden numbers: answered, ranked, verified",
        "Undisturbed, n prompts each, with Wilson's 95 % interval. Exact: the number stands in the answer as a number "
        "of its own; substring: its digits stand anywhere in it. First: of the number and three near misses, it "
        "is the most probable answer, or has the largest p(Yes) when asked whether it is the one (plain form only); "
        "chance is 25 %, a tie is not first. Told apart: mean of p(Yes) of the number minus that of its near misses, "
        "with the 95 % t-interval.",
        ["form", "tokens", "n", *RATES, "told apart"],
        rows,
    )


def halves(measured: Measured) -> Table | None:
    """The same rates by half, mean over lengths, per model and form: whether one half of the prompts decides."""
    asked = [(name, *one) for name in PER_PROMPT for one in _undisturbed(measured, name)]
    groups: dict[tuple[str, str, str], list[tuple[int, xr.Dataset]]] = {}
    for name, model, form, length, answers in asked:
        groups.setdefault((name, model, form), []).append((length, answers))
    rows = [
        [
            model,
            form,
            ", ".join(f"{n:,}" for n, _ in parts),
            " / ".join(str(n) for n in _sizes(parts[0][1]).values()),
            *(_by_half([a for _, a in parts], r) for r in RATES.values()),
        ]
        for (_, model, form), parts in groups.items()
    ]
    return of_rows(
        "10",
        "The same rates in half A / half B",
        "Mean over the lengths named; n prompts in each half. A rate marked ≠ differs between the halves: their Wilson "
        "intervals do not overlap, and the rate over all prompts is that of neither.",
        ["form", "tokens", "n", *RATES],
        rows,
    )


def _undisturbed(measured: Measured, name: str) -> list[tuple[str, str, int, xr.Dataset]]:
    """(model, form, length, answers of all prompts) of what a measurement asked without an intervention."""
    asked = []
    for model, data in _named(measured, name):
        plain = data.sel(condition="baseline", drop=True)
        for form in (form for form in FORMS if form in plain["form"].values):
            for length in plain["length"].values.tolist():
                chosen = plain.sel(form=form, length=length, drop=True)
                if chosen["exact"].notnull().all():
                    asked.append((model, form, int(length), chosen))
    return asked


def _named(measured: Measured, name: str) -> list[tuple[str, xr.Dataset]]:
    return [(NAMES[model.name], data) for model, data in measured.having(name)]


def _items(asked: xr.Dataset, right: Right) -> xr.DataArray | None:
    """One number per prompt; None where it was not measured of every prompt."""
    try:
        values = right(asked)
    except KeyError:  # an earlier version's results lack the variable
        return None
    return values if np.isfinite(values.values.astype(float)).all() else None


def _rates(asked: xr.Dataset) -> list[str]:
    return [NONE if (values := _items(asked, right)) is None else rate(values) for right in RATES.values()]


def _mean(asked: xr.Dataset, right: Right) -> str:
    if (values := _items(asked, right)) is None:
        return NONE
    center, half = (float(v) for v in mean_and_half_width(values))
    return f"{number(center)} ± {number(half)}"


def rate(values: xr.DataArray) -> str:
    """A rate over items with Wilson's interval: 0.75 [0.66, 0.82]."""
    mean = float(values.mean())
    low, high = wilson(mean, values.sizes["text"])
    return f"{mean:.2f} [{max(low, 0.0):.2f}, {min(high, 1.0):.2f}]"


def rate_of_pairs(values: xr.DataArray) -> str:
    """A rate over pairs of facts with the interval that claims have of it."""
    found = items.mean(values, unit="")
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _by_condition(right: xr.DataArray, shown: Sequence[str], write: Callable[[xr.DataArray], str] = rate) -> list[str]:
    known = right["condition"].values
    chosen = {name: right.sel(condition=name, drop=True) for name in shown if name in known}
    return [write(chosen[name]) if name in chosen and chosen[name].notnull().all() else NONE for name in shown]


def _sizes(asked: xr.Dataset) -> dict[str, int]:
    names, counts = np.unique(asked["half"].values, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _by_half(parts: Sequence[xr.Dataset], right: Right) -> str:
    """Rates of half A and half B, marked where their intervals do not overlap."""
    values = [own for part in parts if (own := _items(part, right)) is not None]
    if not values:
        return NONE
    means = xr.concat(values, "length", coords="minimal", compat="override").mean("length").groupby("half").mean("text")
    n = _sizes(parts[0])
    rates = {half: float(means.sel(half=half)) for half in means["half"].values.tolist()}
    spans = [wilson(value, n[half]) for half, value in rates.items()]
    apart = max(low for low, _ in spans) > min(high for _, high in spans)
    return " / ".join(f"{value:.2f}" for value in rates.values()) + (" ≠" if apart else "")
