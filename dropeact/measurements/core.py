"""The core set: one probed pass of every text, the noise floor, and the loss with massive values zeroed."""

from collections.abc import Iterator

import xarray as xr

from dropeact.axes import COLUMNS, HALVES, other_half
from dropeact.measurements import (
    disruption,
    noise_floor,
    observe,
    perplexity,
    published_disruption,
    spectra,
    tridiagonal,
)
from dropeact.measurements.measuring import Measuring, Task
from dropeact.probes import attention, channels, edits, interventions, probing, residual, rows

OBSERVATION_LENGTH = 512
LOSS_LENGTH = 256
SEED = 0
NOISE_TEXTS = 4  # one batch of observe.TEXTS_AT_ONCE, against its texts one by one
NOISE_PASSES = 6 * NOISE_TEXTS * 2  # six observations of 512 tokens
PROBES = (attention, rows, residual, probing, interventions)
SPECTRA = (spectra, tridiagonal)
OBSERVING = (observe, *observe.PHENOMENA, *SPECTRA, perplexity, *PROBES)
DISRUPTING = (disruption, perplexity, *PROBES)
REPLICATING = (published_disruption, channels, edits, *DISRUPTING)


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell in the order of measuring: model by model, because loading is slow; first what others wait for."""
    for column in COLUMNS:
        for corpus in corpora(measuring):
            yield from (observations(measuring, column, corpus, half) for half in HALVES)
    yield noise(measuring)
    for column in COLUMNS:
        for corpus in corpora(measuring):
            yield from (losses(measuring, column, corpus, half) for half in HALVES)
        if "repeated" in corpora(measuring):
            yield from (published_losses(measuring, column, half) for half in HALVES)


def corpora(measuring: Measuring) -> tuple[str, ...]:
    """Natural passages, and repeated sentences where the study's own figures are judged."""
    return ("passages", "repeated") if measuring.request.pair.published else ("passages",)


def observations(measuring: Measuring, column: str, corpus: str, half: str) -> Task:
    """Everything that one probed pass shows, for one half of a corpus."""
    cell = measuring.cell(column, corpus, half, "observations", OBSERVING, length=OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, corpus, half, OBSERVATION_LENGTH)
        return observe.observe(measuring.checkpoint(column).model, tokens, ids=ids, halves=[half] * len(ids))

    return Task(cell, measuring.count(corpus, half) * 2, measure)


def noise(measuring: Measuring) -> Task:
    """The same cell measured again: what its numbers owe to threads, batches, products and precision."""
    code = (*OBSERVING, noise_floor)
    cell = measuring.cell("rope", "passages", "A", "noise-floor", code, length=OBSERVATION_LENGTH)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens("rope", "passages", "A", OBSERVATION_LENGTH)
        few, names = tokens[:NOISE_TEXTS], ids[:NOISE_TEXTS]
        model = measuring.checkpoint("rope").model
        return noise_floor.noise_floor(model, few, ids=names, halves=["A"] * len(names))

    return Task(cell, NOISE_PASSES, measure)


def losses(measuring: Measuring, column: str, corpus: str, half: str) -> Task:
    """Loss with massive values zeroed at equal dose, masks from the other half, beside the controls."""
    keys = selection_keys(measuring, corpus, half)
    cell = measuring.cell(column, corpus, half, "disruption", DISRUPTING, length=LOSS_LENGTH, seed=SEED, other=keys)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, corpus, half, LOSS_LENGTH)
        chosen = disruption.drawn(*dosed(measuring, column, corpus, half), ids, seed=SEED)
        model = measuring.checkpoint(column).model
        return disruption.disrupt(model, tokens, chosen, ids=ids, halves=[half] * len(ids))

    return Task(cell, measuring.count(corpus, half) * len(disruption.CONDITIONS) // 2, measure)


def published_losses(measuring: Measuring, column: str, half: str) -> Task:
    """Loss of repeated sentences as the study has it: the model's own massive values, zeroed as projected."""
    keys = {column: selection_keys(measuring, "repeated", half)[column]}
    asked = {"length": LOSS_LENGTH, "seed": SEED, "other": keys}
    cell = measuring.cell(column, "repeated", half, "published_disruption", REPLICATING, **asked)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "repeated", half, LOSS_LENGTH)
        norms = measuring.norms(column, "repeated", other_half(half), site="projected")
        chosen = published_disruption.masks(norms, ids, seed=SEED)
        model = measuring.checkpoint(column).model
        return published_disruption.disrupt(model, tokens, chosen, ids=ids, halves=[half] * len(ids))

    return Task(cell, measuring.count("repeated", half) * len(published_disruption.CONDITIONS) // 2, measure)


def selection_keys(measuring: Measuring, corpus: str, half: str) -> dict[str, str]:
    """The keys of the observations that masks and write layers for `half` are selected on."""
    return {column: observations(measuring, column, corpus, other_half(half)).cell.key for column in COLUMNS}


def masks(measuring: Measuring, column: str, corpus: str, half: str) -> xr.Dataset:
    """The channels each condition zeroes in one model, at the dose both models share, from the other half."""
    return disruption.masks(*dosed(measuring, column, corpus, half), seed=(SEED, HALVES.index(half)))


def dosed(measuring: Measuring, column: str, corpus: str, half: str) -> tuple[xr.Dataset, xr.DataArray]:
    """Norms of one model on the other half, and the dose that both models share there."""
    norms = {c: measuring.norms(c, corpus, other_half(half)) for c in ("rope", "drope", column)}
    return norms[column], disruption.equal_dose(norms["rope"], norms["drope"])
