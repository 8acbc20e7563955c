"""The behaviour set: facts and hidden numbers, asked of every model; each condition is a cell of its own."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from dropeact.axes import COLUMNS, HALVES, other_half
from dropeact.corpus import retrieval as prompts
from dropeact.corpus.facts import facts, facts_hash, haystack
from dropeact.measured import write_layer
from dropeact.measurements import (
    attention,
    completions,
    conditions,
    core,
    disruption,
    growing_cache,
    knowledge,
    manipulation,
    perplexity,
    retrieval,
)
from dropeact.measurements.measuring import Measuring, Task
from dropeact.probes import ablations, edits, first_token
from dropeact.probes.interventions import Intervention

PASSES = 100  # text-passes of 256 tokens that one half of the prompts costs per 256 tokens of their length
PACE = 0.5  # what prompts share is read once, and nothing is read along the way
EDITING = (conditions, disruption, perplexity, first_token, ablations, edits)  # what makes and enters interventions
ASKING = (completions, growing_cache, manipulation, attention, *EDITING, *core.PROBES)


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell in the order of measuring: model by model."""
    for column in COLUMNS:
        for condition in conditions.OF_COLUMN[column]:
            for half in HALVES:
                yield known_facts(measuring, column, half, condition)
                if condition in conditions.RETRIEVED:
                    yield found_numbers(measuring, column, half, condition)


def known_facts(measuring: Measuring, column: str, half: str, condition: str) -> Task:
    """Facts of one half under one condition."""
    items = [item for item in facts() if item.half == half]
    asked = {"items": facts_hash(items), "condition": condition} | selection(measuring, half)
    cell = measuring.cell(column, "passages", half, f"knowledge.{condition}", (knowledge, *ASKING), **asked)

    def measure() -> xr.Dataset:
        checkpoint = measuring.checkpoint(column)
        draws = chosen(measuring, column, half, condition)
        parts = [
            knowledge.knowledge(
                checkpoint.model,
                checkpoint.tokenizer,
                items[turn :: len(draws)],
                interventions,
                write_layer=selected_layer(measuring, half),
                selected_on=other_half(half),
                first_ids=measuring.first_ids(column),
            )
            for turn, interventions in enumerate(draws)
        ]
        return interleaved(parts)

    return Task(cell, len(items) // 4, measure, PACE)


def found_numbers(measuring: Measuring, column: str, half: str, condition: str) -> Task:
    """Hidden numbers of one half, looked for under one condition."""
    lengths = conditions.lengths(column, condition)
    asked = {"condition": condition, "lengths": list(lengths), "haystack": haystack_hash()}
    code = (retrieval, prompts, *ASKING)
    cell = measuring.cell(
        column, "passages", half, f"retrieval.{condition}", code, **asked, **selection(measuring, half)
    )

    def measure() -> xr.Dataset:
        checkpoint = measuring.checkpoint(column)
        draws = chosen(measuring, column, half, condition)
        parts = [
            retrieval.retrieval(
                checkpoint.model,
                checkpoint.tokenizer,
                interventions,
                half=half,
                lengths=lengths,
                verified=() if column == "dropped" else ("baseline",),
                first_ids=measuring.first_ids(column),
                which=slice(turn, None, len(draws)),
            )
            for turn, interventions in enumerate(draws)
        ]
        return interleaved(parts)

    return Task(cell, PASSES * sum(lengths) // 256, measure, PACE)


def selection(measuring: Measuring, half: str) -> dict[str, Any]:
    """What the masks and the write layer of a condition depend on: a layer that the pair names, where it names one."""
    literal = measuring.request.pair.write_layer
    other = {"other": core.selection_keys(measuring, "passages", half)}
    return other if literal is None else other | {"write_layer": literal}


def chosen(measuring: Measuring, column: str, half: str, condition: str) -> list[dict[str, tuple[Intervention, ...]]]:
    """The interventions of one condition, selected on the other half: one set of them for all items, or several draws.

    A random control that is one draw shows that draw; each of several is for its share of the items.
    """
    masks = core.masks(measuring, column, "passages", half)
    if condition == conditions.RANDOM:
        return [{condition: (conditions.zeroed(masks, draw),)} for draw in disruption.RANDOM]
    layer = selected_layer(measuring, half)
    return [conditions.conditions(masks, write_layer=layer, names=(condition,))]


def interleaved(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Items that were asked in turns, in their order again; what is not of an item is that of the first part."""
    places = [turn + len(parts) * np.arange(part.sizes["text"]) for turn, part in enumerate(parts)]
    joined = xr.concat(
        parts, "text", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override"
    )
    return joined.isel(text=np.argsort(np.concatenate(places)))


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
