"""The ablation set: loss with channels zeroed or replaced, or parts of layers left out; a condition is a cell."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from torch import Tensor

from dropeact.axes import COLUMNS, HALVES, other_half
from dropeact.measurements import ablated, controls, core, disruption, disruption_by_threshold, perplexity, shapes
from dropeact.measurements import atlas as atlases
from dropeact.measurements.behaviour import selected_layer, selection
from dropeact.measurements.measuring import Measuring, Task
from dropeact.probes import ablations, channels, edits, first_token, resuming
from dropeact.probes.ablations import DropOutputs
from dropeact.probes.channels import OnePerHead, ReplaceDims
from dropeact.probes.first_token import DropFirstMlp, ZeroFirstValue
from dropeact.probes.interventions import Intervention

LOSSES = ("top1-mean", "bottom1-mean", *controls.CONTROLS, "first-mlp", "first-value", "first-values")
EFFECTS = ("baseline", "first-mlp", "first")
DECODED = ("baseline", "first-mlp", "call-mlp")
EFFECTS_LENGTH = 128
ATLAS_LENGTH = 96
PROMPT = 64  # of the 96 tokens, where the rest is read from the cache
ATLAS_TEXTS = 8  # of each half
PACE = 0.6  # little is read of the texts on their way
EDITING = (ablated, perplexity, channels, first_token, ablations, edits, *core.PROBES)
OBSERVING = (ablated, *core.OBSERVING, first_token, ablations, edits)
CHARTING = (atlases, perplexity, ablations, edits, resuming, *core.PROBES)


def tasks(measuring: Measuring) -> Iterator[Task]:
    """Every cell in the order of measuring: model by model, what claims rest on first."""
    charted = whole_passes(measuring)
    for column in COLUMNS:
        for half in HALVES:
            yield from (effects(measuring, column, half, condition) for condition in EFFECTS)
            yield from (losses(measuring, column, half, condition) for condition in LOSSES)
            yield from (decoded(measuring, column, half, condition) for condition in DECODED)
            yield from (atlas(measuring, column, half, name, charted) for name in atlases.ABLATIONS)
            yield losses_by_threshold(measuring, column, half)


def losses(measuring: Measuring, column: str, half: str, condition: str) -> Task:
    """Loss of the passages of one half under one condition; the undisturbed loss is in the core set."""
    asked = {"condition": condition, "length": core.LOSS_LENGTH} | selection(measuring, half)
    code = (*EDITING, disruption, controls) if condition in controls.CONTROLS else EDITING
    cell = measuring.cell(column, "passages", half, f"ablation.{condition}", code, **asked)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, core.LOSS_LENGTH)
        changes = interventions(measuring, column, half, condition)
        model = measuring.checkpoint(column).model
        return ablated.losses(model, tokens, changes, condition=condition, ids=ids, halves=[half] * len(ids))

    return Task(cell, measuring.count("passages", half), measure, PACE)


def losses_by_threshold(measuring: Measuring, column: str, half: str) -> Task:
    """Loss with massive values zeroed as in the core set, for other lambdas, beside one random control each."""
    asked = {"length": core.LOSS_LENGTH, "seed": core.SEED, "thresholds": list(disruption_by_threshold.THRESHOLDS)}
    asked |= {"other": core.selection_keys(measuring, "passages", half)}
    code = (disruption_by_threshold, *core.DISRUPTING)
    cell = measuring.cell(column, "passages", half, "disruption_by_threshold", code, **asked)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, core.LOSS_LENGTH)
        norms = {c: measuring.norms(c, "passages", other_half(half)) for c in ("rope", "drope", column)}
        doses = disruption_by_threshold.equal_doses(norms["rope"], norms["drope"])
        chosen = disruption_by_threshold.masks(norms[column], doses, ids, seed=core.SEED)
        model = measuring.checkpoint(column).model
        return disruption_by_threshold.disrupt(model, tokens, chosen, ids=ids, halves=[half] * len(ids))

    rows = len(disruption_by_threshold.THRESHOLDS) * len(disruption_by_threshold.CONDITIONS)
    return Task(cell, measuring.count("passages", half) * rows, measure, PACE)


def effects(measuring: Measuring, column: str, half: str, condition: str) -> Task:
    """The first token's norm, the sinks and the entropy of representations under one condition, per passage."""
    asked = {"condition": condition, "length": EFFECTS_LENGTH} | selection(measuring, half)
    cell = measuring.cell(column, "passages", half, f"effects.{condition}", OBSERVING, **asked)

    def measure() -> xr.Dataset:
        tokens, ids = measuring.tokens(column, "passages", half, EFFECTS_LENGTH)
        changes = interventions(measuring, column, half, condition)
        model = measuring.checkpoint(column).model
        return ablated.effects(model, tokens, changes, condition=condition, ids=ids, halves=[half] * len(ids))

    return Task(cell, measuring.count("passages", half) * EFFECTS_LENGTH // core.LOSS_LENGTH, measure)


def decoded(measuring: Measuring, column: str, half: str, condition: str) -> Task:
    """Loss of tokens read one by one from the cache: by absolute position, and by the index in each call."""
    asked = {"condition": condition, "length": ATLAS_LENGTH, "prompt": PROMPT, "texts": ATLAS_TEXTS}
    asked |= selection(measuring, half)
    cell = measuring.cell(column, "passages", half, f"decoded.{condition}", EDITING, **asked)

    def measure() -> xr.Dataset:
        tokens, ids = few(measuring, column, half)
        changes = interventions(measuring, column, half, condition)
        model, halves = measuring.checkpoint(column).model, [half] * len(ids)
        return ablated.decoded(model, tokens, changes, prompt=PROMPT, condition=condition, ids=ids, halves=halves)

    return Task(cell, ATLAS_TEXTS * ATLAS_LENGTH // core.LOSS_LENGTH, measure)


def few(measuring: Measuring, column: str, half: str) -> tuple[Tensor, list[str]]:
    """Some short passages of one half."""
    tokens, ids = measuring.tokens(column, "passages", half, ATLAS_LENGTH)
    places = evenly(len(ids), ATLAS_TEXTS)
    return tokens[places], [ids[place] for place in places]


def atlas(measuring: Measuring, column: str, half: str, name: str, charted: float) -> Task:
    """Loss with parts of one layer left out, for every layer, on some passages of one half; `charted` passes a text."""
    asked = {"condition": name, "length": ATLAS_LENGTH, "texts": ATLAS_TEXTS}
    cell = measuring.cell(column, "passages", half, f"atlas.{name}", CHARTING, **asked)

    def measure() -> xr.Dataset:
        tokens, ids = few(measuring, column, half)
        return atlases.atlas(measuring.checkpoint(column).model, tokens, name, ids=ids, halves=[half] * len(ids))

    texts = min(ATLAS_TEXTS, measuring.count("passages", half))
    passes = round(texts * charted * ATLAS_LENGTH / core.LOSS_LENGTH)
    return Task(cell, passes, measure, PACE)


def interventions(measuring: Measuring, column: str, half: str, condition: str) -> Sequence[Intervention]:
    """What a condition changes in one model, selected on the other half where anything is selected.

    top1-mean, bottom1-mean: Jin's channel of every head and its control, replaced by their mean over the text;
    next-largest, smallest: controls of the massive channels, zeroed at the dose of both models; first-mlp, first-value:
    the first token without its MLP output, or its value, at the write layer; first: without both outputs there;
    first-values: without any value; call-mlp: the first token of every call without its MLP output.
    """
    if condition in controls.CONTROLS:
        norms = {c: measuring.norms(c, "passages", other_half(half)) for c in ("rope", "drope", column)}
        return [controls.controls(norms[column], disruption.equal_dose(norms["rope"], norms["drope"]), condition)]
    layer = selected_layer(measuring, half)
    return {
        "baseline": [],
        "first": [DropOutputs(layer, tokens="first")],
        "first-mlp": [DropFirstMlp(layer)],
        "call-mlp": [DropOutputs(layer, ("mlp",), "call")],
        "first-value": [ZeroFirstValue((layer,))],
        "top1-mean": [ReplaceDims(OnePerHead())],
        "bottom1-mean": [ReplaceDims(OnePerHead(largest=False))],
        "first-values": [ZeroFirstValue()],
    }[condition]


def evenly(count: int, wanted: int) -> list[int]:
    """Places of `wanted` texts spread evenly over `count`: every register of the passages is among them."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, wanted))})


def whole_passes(measuring: Measuring) -> float:
    """Forward passes that one atlas costs a text: one whole, then for each layer what lies above it, and the head."""
    config = shapes.config_of(measuring.request.pair.rope)
    layers, layer = config["num_hidden_layers"], shapes.parameters_per_layer(config)
    head = config["vocab_size"] * config["hidden_size"]
    return 1 + sum(head + (layers - below) * layer for below in range(layers)) / (head + layers * layer)
