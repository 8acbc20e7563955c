"""The behaviour set: facts and hidden numbers, asked of every model under every condition."""

import hashlib
from collections.abc import Iterator

import xarray as xr

from dropeact.axes import COLUMNS, HALVES, other_half
from dropeact.corpus import retrieval as prompts
from dropeact.corpus.facts import facts, facts_hash, haystack
from dropeact.measured import write_layer
from dropeact.measurements import completions, conditions, core, knowledge, manipulation, retrieval
from dropeact.measurements.measuring import Measuring, Task
from dropeact.probes import first_token, interventions

ASKING = (completions, conditions, manipulation, first_token, interventions)


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell in the order of measuring: model by model."""
    for column in COLUMNS:
        for half in HALVES:
            yield from (known_facts(measuring, column, half), found_numbers(measuring, column, half))


def known_facts(measuring: Measuring, column: str, half: str) -> Task:
    """Facts of one half under the conditions of a column."""
    items = [item for item in facts() if item.half == half]
    names = conditions.OF_COLUMN[column]
    keys = core.selection_keys(measuring, "passages", half)
    code = (knowledge, *ASKING)
    asked = {"items": facts_hash(items), "conditions": list(names), "other": keys}
    cell = measuring.cell(column, "passages", half, "knowledge", code, **asked)

    def measure() -> xr.Dataset:
        checkpoint = measuring.checkpoint(column)
        layer = selected_layer(measuring, half)
        return knowledge.knowledge(
            checkpoint.model,
            checkpoint.tokenizer,
            items,
            conditions.conditions(core.masks(measuring, column, "passages", half), write_layer=layer, names=names),
            write_layer=layer,
            selected_on=other_half(half),
            first_ids=measuring.first_ids(column),
        )

    return Task(cell, len(items) * len(names) // 4, measure)


def found_numbers(measuring: Measuring, column: str, half: str) -> Task:
    """Hidden numbers of one half, looked for under the conditions of a column."""
    names = [name for name in conditions.OF_COLUMN[column] if name in conditions.RETRIEVED]
    keys = core.selection_keys(measuring, "passages", half)
    code = (retrieval, prompts, *ASKING)
    asked = {
        "conditions": names,
        "lengths": list(retrieval.LENGTHS),
        "only": {name: list(lengths) for name, lengths in conditions.SHORTEST.items()},
        "haystack": haystack_hash(),
        "other": keys,
    }
    cell = measuring.cell(column, "passages", half, "retrieval", code, **asked)

    def measure() -> xr.Dataset:
        checkpoint = measuring.checkpoint(column)
        chosen = core.masks(measuring, column, "passages", half)
        layer = selected_layer(measuring, half)
        return retrieval.retrieval(
            checkpoint.model,
            checkpoint.tokenizer,
            conditions.conditions(chosen, write_layer=layer, names=names),
            half=half,
            only=conditions.SHORTEST,
            first_ids=measuring.first_ids(column),
        )

    return Task(cell, 200 * len(names), measure)


def haystack_hash() -> str:
    """Content hash of the sentences that numbers are hidden among."""
    return hashlib.sha256("\n".join(haystack()).encode()).hexdigest()


def selected_layer(measuring: Measuring, half: str) -> int:
    """The write layer for the items of one half: literal on the published pair, else selected on the other half."""
    literal = measuring.request.pair.write_layer
    if literal is not None:
        return literal
    seen = measuring.store.load("rope", "passages", measuring.request.first_tokens, "observations")
    return write_layer(seen["first_norm"].isel(text=seen["half"].values == other_half(half)))
