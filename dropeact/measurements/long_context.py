"""The long set: hidden numbers at the lengths that were asked for, within the training length and beyond it."""

from collections.abc import Iterator

import xarray as xr

from dropeact.axes import HALVES, Column
from dropeact.corpus import retrieval as prompts
from dropeact.measurements import attention, behaviour, completions, core, growing_cache, retrieval, shapes
from dropeact.measurements.measuring import Measuring, Task

ASKED: tuple[Column, ...] = ("rope", "drope")  # the just-dropped model finds nothing in short texts already
ANSWER_TOKENS = 16  # as the accepted results were read: none of their answers ended within a number
ATTENTION_PACE = 1.8  # time of attention's FLOPs relative to those of the weights, 8,192 and 16,384 tokens on a CPU


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell, model by model and from short to long: each length is a cell of its own."""
    attention_per_token = shapes.attention_per_token(measuring.request.pair.rope)
    for column in ASKED:
        for length in sorted(measuring.request.lengths):
            pace = behaviour.PACE * (1 + ATTENTION_PACE * attention_per_token * length)
            yield from (found_numbers(measuring, column, half, length, pace) for half in HALVES)


def found_numbers(measuring: Measuring, column: str, half: str, length: int, pace: float) -> Task:
    """Hidden numbers of one half in texts of one length, asked of the undisturbed model."""
    numbers = measuring.request.numbers
    read = {"length": length, "answer_tokens": ANSWER_TOKENS}
    asked = read | {"numbers": numbers, "haystack": behaviour.haystack_hash()}
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
            keys=numbers,
            answer_tokens=ANSWER_TOKENS,
        )

    return Task(cell, behaviour.PASSES * numbers // prompts.KEYS * length // core.LOSS_LENGTH, measure, pace)
