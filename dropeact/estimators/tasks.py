"""Stored answers of one model -> right or wrong of every task that the undisturbed model performs.

What counts as one is a pair of facts that swap their completions, or a prompt with a hidden number.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import xarray as xr

from dropeact.corpus import facts
from dropeact.estimators.accuracy import CHANCE, Bounded, lost_share, require_above_chance, require_found, task_items
from dropeact.estimators.outcomes import Untestable, remark

PASSKEY = "passkey"
PARAMETRIC: tuple[str, ...] = facts.PARAMETRIC
CONTEXTUAL: tuple[str, ...] = (*facts.CONTEXTUAL, PASSKEY)
TASKS = (*PARAMETRIC, *CONTEXTUAL)
SIZES = {task: sum(item.task == task for item in facts.facts()) for task in facts.TASKS}

Answers = tuple[xr.DataArray, xr.DataArray]


def chance(task: str) -> float:
    """The accuracy of a model that knows nothing: one half between two completions, 0 for a number of five digits."""
    return 0.0 if task == PASSKEY else CHANCE


def by_pair(items: xr.DataArray) -> xr.DataArray:
    """Mean of the two facts of each pair, one number a pair: 0, 0.5 or 1 where an item is wrong (0) or right (1).

    The true completion of either fact is the false one of the other. A model that prefers one of them, whatever is
    asked, has one fact right and one wrong: answers within a pair are not independent, pairs are.
    """
    names = items["text"].values.tolist()
    numbers = np.array([int(name.rpartition("-")[2]) for name in names], int)
    pairs = [f"{name.rpartition('-')[0]} pair {(n + 1) // 2}" for name, n in zip(names, numbers, strict=True)]
    bare = items.reset_coords(drop=True).assign_coords(text=pairs)
    return (bare.isel(text=numbers % 2 == 1) + bare.isel(text=numbers % 2 == 0)) / 2


def answers(knowledge: xr.Dataset, task: str, condition: str, *, name: str, score: str = "correct") -> Answers:
    """Share of right answers per pair of facts of a task, undisturbed and under a condition.

    Raises
    ------
    Untestable
        When an item is missing, or the undisturbed accuracy is not clear of chance.
    """
    known = knowledge[score].where(np.isfinite(knowledge["log_odds"]))
    scores = (known.sel(condition=which, drop=True) for which in ("baseline", condition))
    before, after = (task_items(values, task, SIZES[task]) for values in scores)
    require_above_chance(before, f"{name} {task}")
    return by_pair(before), by_pair(after)


def found(retrieval: xr.Dataset) -> xr.DataArray:
    """Exact match, NaN where the model gives the number no finite probability: what it writes then is no answer."""
    scores = retrieval["candidate_log_probability"].sel(candidate="exact", drop=True)
    return retrieval["exact"].where(np.isfinite(scores))


def passkeys(retrieval: xr.Dataset, condition: str, *, name: str) -> Answers:
    """Exact match per prompt, mean of both forms at the shortest length, undisturbed and under a condition.

    Raises
    ------
    Untestable
        When the undisturbed model does not find enough numbers.
    """
    exact = found(retrieval).sel(length=retrieval["length"].values.min(), drop=True).mean("form", skipna=False)
    before, after = (exact.sel(condition=which, drop=True) for which in ("baseline", condition))
    require_found(before, f"{name} {PASSKEY}")
    return before, after


def ranked_first(scores: xr.DataArray) -> xr.DataArray:
    """Whether the exact number scores highest of all candidates, a tie being none; NaN where one has no score."""
    exact, near = scores.sel(candidate="exact", drop=True), scores.drop_sel(candidate="exact")
    return (exact > near.max("candidate", skipna=False)).where(scores.notnull().all("candidate"))


def remark_ranking(retrieval: xr.Dataset, condition: str, *, name: str) -> None:
    """Say how often the right number is the most probable of four, undisturbed and under a condition, where stored.

    A model can lose the writing of a number and keep the number, and one that writes none can still be disturbed. Mean
    of both forms at the shortest length.
    """
    if "candidate_log_probability" not in retrieval:
        return
    length = int(retrieval["length"].values.min())
    asked = retrieval["candidate_log_probability"].sel(length=length, drop=True)
    first = ranked_first(asked).mean(["text", "form"], skipna=False)
    before, after = (float(first.sel(condition=which)) for which in ("baseline", condition))
    if isfinite(before) and isfinite(after):
        remark(
            f"By log-probability {name} ranks the right number above three near misses in {before:.2f} of the prompts "
            f"of {length} tokens (both forms), disrupted in {after:.2f} (chance {1 / asked.sizes['candidate']:g})"
        )


def counted(
    knowledge: xr.Dataset,
    retrieval: xr.Dataset,
    tasks: Sequence[str],
    condition: str,
    *,
    name: str,
    score: str = "correct",
) -> dict[str, Answers]:
    """The answers of those tasks that count, facts by `score`; a remark names the others with their accuracy.

    Raises
    ------
    Untestable
        When none does, with the accuracy of each.
    """
    found, failed = {}, []
    for task in tasks:
        try:
            by_prompt = task == PASSKEY
            found[task] = (
                passkeys(retrieval, condition, name=name)
                if by_prompt
                else answers(knowledge, task, condition, name=name, score=score)
            )
        except Untestable as reason:
            failed.append(str(reason))
    if not found:
        raise Untestable("; ".join(failed))
    if failed:
        remark(f"Left out: {'; '.join(failed)}")
    return found


def lost_shares(tasks: Mapping[str, Answers]) -> dict[str, Bounded]:
    """Per task, the share of the accuracy above chance that the condition takes, one value per pair or prompt."""
    return {task: lost_share(before, after, chance=chance(task)) for task, (before, after) in tasks.items()}
