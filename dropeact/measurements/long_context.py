"""The long set: hidden numbers at the lengths that were asked for, within the training length and beyond it."""

from collections.abc import Iterator

import xarray as xr

from dropeact.axes import COLUMNS, HALVES
from dropeact.corpus import retrieval as prompts
from dropeact.measurements import attention, behaviour, completions, core, growing_cache, retrieval
from dropeact.measurements.measuring import Measuring, Task


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell, model by model and from short to long: each length is a cell of its own."""
    for column in COLUMNS:
        for length in sorted(measuring.request.lengths):
            yield from (found_numbers(measuring, column, half, length) for half in HALVES)


def found_numbers(measuring: Measuring, column: str, half: str, length: int) -> Task:
    """Hidden numbers of one half in texts of one length, asked of the undisturbed model."""
    asked = {"length": length, "haystack": behaviour.haystack_hash()}
    code = (retrieval, prompts, completions, growing_cache, attention, *core.PROBES)
    cell = measuring.cell(column, "passages", half, f"long_retrieval.{length}", code, **asked)

    def measure() -> xr.Dataset:
        checkpoint = measuring.checkpoint(column)
        return retrieval.retrieval(
            checkpoint.model,
            checkpoint.tokenizer,
            {"baseline": ()},
            half=half,
            lengths=(length,),
            verified=(),
            first_ids=measuring.first_ids(column),
        )

    return Task(cell, behaviour.PASSES * length // 256, measure)
