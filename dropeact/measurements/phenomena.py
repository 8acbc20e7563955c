"""The observe set: what else one probed pass of the passages shows, beyond what the core claims need."""

from collections.abc import Iterator
from types import ModuleType

import xarray as xr
from transformers import PreTrainedModel

from dropeact.axes import COLUMNS, HALVES, SINK_LENGTH
from dropeact.corpus import arms
from dropeact.measurements import (
    attention,
    contrasts,
    core,
    loss_curve,
    massive_values,
    noise_floor,
    observe,
    overlap,
    partial_rotation,
    perplexity,
    residual,
    rotary_frequency,
)
from dropeact.measurements.measuring import Measuring, Task

ARM_TEXTS = 8  # of each half; the store stays small
LOSS_PACE = 0.7  # the loss alone is read
BEYOND = tuple(phenomenon for phenomenon in observe.EVERYTHING if phenomenon not in observe.PHENOMENA)

OBSERVING = (observe, *observe.EVERYTHING, *core.SPECTRA, overlap, perplexity, *core.PROBES)


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell, model by model."""
    for column in COLUMNS:
        yield from (phenomena(measuring, column, half) for half in HALVES)
        if column == "rope":
            yield noise(measuring)
        yield from (longer_losses(measuring, column, half) for half in HALVES)
        yield from (read_outs(measuring, column, half) for half in HALVES)
        yield from (repetition(measuring, column, half) for half in HALVES)
        for arm in measuring.request.other_arms:
            yield from (observations_in(arm, measuring, column, half) for half in HALVES)
            yield from (phenomena_in(arm, measuring, column, half) for half in HALVES)


def phenomena(measuring: Measuring, column: str, half: str) -> Task:
    """Massive activations, local attention, write shares, residual shares and Q/K norms of one half of the passages."""
    code = (*OBSERVING, *_rotation(measuring, column))
    cell = measuring.cell(column, "passages", half, "phenomena", code, length=core.OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, core.OBSERVATION_LENGTH)
        model = measuring.checkpoint(column).model
        seen = observe.observe(model, tokens, ids=ids, halves=[half] * len(ids), phenomena=_beyond(model))
        return seen.drop_vars(["nats", "nats_mean"])

    return Task(cell, measuring.count("passages", half) * 2, measure)


def observations_in(arm: str, measuring: Measuring, column: str, half: str) -> Task:
    """What the core set observes, on the first texts of one half that begin in another way: for sensitivity only."""
    code = (*core.OBSERVING, arms)
    cell = measuring.cell(column, "passages", half, "observations", code, arm=arm, length=core.OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, core.OBSERVATION_LENGTH, arm=arm)
        few, names = tokens[:ARM_TEXTS], ids[:ARM_TEXTS]
        seen = observe.observe(measuring.checkpoint(column).model, few, ids=names, halves=[half] * len(names))
        return seen.drop_dims(["selected_on", "kv_head", "dim"])  # norms pooled over so few texts decide nothing

    return Task(cell, ARM_TEXTS * 2, measure)


def phenomena_in(arm: str, measuring: Measuring, column: str, half: str) -> Task:
    """The phenomena of the same few texts, in the same arm."""
    code = (*OBSERVING, *_rotation(measuring, column), arms)
    cell = measuring.cell(column, "passages", half, "phenomena", code, arm=arm, length=core.OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, core.OBSERVATION_LENGTH, arm=arm)
        few, names = tokens[:ARM_TEXTS], ids[:ARM_TEXTS]
        model = measuring.checkpoint(column).model
        seen = observe.observe(model, few, ids=names, halves=[half] * len(names), phenomena=_beyond(model))
        return seen.drop_vars(["nats", "nats_mean"]).drop_dims("selected_on")

    return Task(cell, ARM_TEXTS * 2, measure)


def _beyond(model: PreTrainedModel) -> tuple[ModuleType, ...]:
    """What to observe of a model, which may rotate only in part."""
    rotation = partial_rotation.phenomenon_of(model.config)
    return tuple(rotation if phenomenon is rotary_frequency else phenomenon for phenomenon in BEYOND)


def _rotation(measuring: Measuring, column: str) -> tuple[ModuleType, ...]:
    """The module that a cell depends on where a model may rotate only in part: a Llama never does."""
    plain = measuring.identities[column]["architecture"] in ("llama", "llama_drope")
    return () if plain else (partial_rotation,)


def noise(measuring: Measuring) -> Task:
    """The same phenomena measured again: what their numbers owe to threads, batches, products and precision."""
    code = (*OBSERVING, *_rotation(measuring, "rope"), noise_floor)
    cell = measuring.cell("rope", "passages", "A", "noise-phenomena", code, length=core.OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens("rope", "passages", "A", core.OBSERVATION_LENGTH)
        few, names = tokens[: core.NOISE_TEXTS], ids[: core.NOISE_TEXTS]
        model = measuring.checkpoint("rope").model
        return noise_floor.noise_floor(model, few, ids=names, halves=["A"] * len(names), phenomena=_beyond(model))

    return Task(cell, core.NOISE_PASSES, measure)


def longer_losses(measuring: Measuring, column: str, half: str) -> Task:
    """The loss by position to 1,024 tokens, on passages joined two and two."""
    cell = measuring.cell(column, "passages", half, "loss-curve", (loss_curve, perplexity), length=loss_curve.LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, loss_curve.LENGTH // 2)
        arm, model = measuring.request.first_tokens, measuring.checkpoint(column).model
        separator_id = None if arm == "separator" else measuring.separator_id(column)  # there each text brings its own
        joined, names = loss_curve.windows(tokens, ids, separator_id=separator_id)
        labels = {"ids": names, "halves": [half] * len(names)}
        separated, prefixed = separator_id is not None, arm != "first"
        return loss_curve.loss_curve(model, joined, **labels, separated=separated, prefixed=prefixed)

    return Task(cell, measuring.count("passages", half) * 2, measure, LOSS_PACE)


def read_outs(measuring: Measuring, column: str, half: str) -> Task:
    """The study's read-outs beside the sound ones, on the first texts of one half."""
    code = (contrasts, attention, residual, *core.SPECTRA, *core.PROBES)
    cell = measuring.cell(column, "passages", half, "contrasts", code, length=SINK_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, SINK_LENGTH)
        few, names = tokens[: contrasts.TEXTS], ids[: contrasts.TEXTS]
        return contrasts.contrasts(
            measuring.checkpoint(column).model,
            few,
            ids=names,
            halves=[half] * len(names),
            pad_id=measuring.separator_id(column) or 0,  # any id will do: nothing attends to it
        )

    return Task(cell, contrasts.TEXTS, measure)


def repetition(measuring: Measuring, column: str, half: str) -> Task:
    """Loss and massive values of the first repeated sentences of one half."""
    code = (contrasts, observe, massive_values, perplexity, *core.PROBES)
    cell = measuring.cell(column, "repeated", half, "contrasts", code, length=core.OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "repeated", half, core.OBSERVATION_LENGTH)
        few, names = tokens[: contrasts.TEXTS], ids[: contrasts.TEXTS]
        return contrasts.repeated(measuring.checkpoint(column).model, few, ids=names, halves=[half] * len(names))

    return Task(cell, contrasts.TEXTS, measure)
