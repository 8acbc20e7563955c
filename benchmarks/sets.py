"""Sets of the default pair beside the way others measure them: the same numbers, in more passes or more memory."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.alternatives import capture_and_rebuild, seed_by_seed, stream_statistics
from benchmarks.passes import CORE, plain
from benchmarks.timing import in_turn
from dropeact.measurements import disruption, massive_values, observe, perplexity
from dropeact.measurements.residual import read_stream
from dropeact.probes.probing import probing

SEEDS = 10  # as many as the study ran
OBSERVED, DISRUPTED = 4, 2
AGREES = 1e-3


@torch.no_grad()
def observation(model: PreTrainedModel, texts: Tensor) -> list[dict[str, Any]]:
    """The observations of a few texts of 512 tokens, and the same numbers from captured tensors and an SVD."""
    texts = texts[:OBSERVED]
    names = [str(index) for index in range(len(texts))]
    halves = ["A"] * len(texts)

    def ours() -> object:
        return observe.observe(model, texts, ids=names, halves=halves)

    def rebuilt() -> object:
        return [capture_and_rebuild(model, text[None], streams=True) for text in texts]

    check_same_numbers(model, texts[:1])
    size = perplexity.rows_at_once(model, texts.shape[1], most=observe.TEXTS_AT_ONCE)
    streams = [stream_of(model, batch) for batch in texts.split(size)]
    ways = {
        "observe": ours,
        "of it: spectra of the stream": lambda: [read_stream(hidden) for stream in streams for hidden in stream],
        "capture, rebuild, SVD": rebuilt,
        "of it: SVD of the stream": lambda: [stream_statistics(stream) for stream in streams],
        "plain passes": lambda: [plain(model, text[None]) for text in texts],
    }
    return [row.as_dict() for row in in_turn(ways, rounds=3)]


@torch.no_grad()
def stream_of(model: PreTrainedModel, tokens: Tensor) -> tuple[Tensor, ...]:
    """The residual stream at every depth but the last, which transformers gives after the final norm."""
    return model(tokens, use_cache=False, logits_to_keep=1, output_hidden_states=True).hidden_states[:-1]


@torch.no_grad()
def check_same_numbers(model: PreTrainedModel, text: Tensor) -> None:
    """Both ways give the same numbers, or their times say nothing.

    Raises
    ------
    RuntimeError
        When one differs by more than a thousandth.
    """
    with probing(model, CORE) as seen:
        logits = model(text, use_cache=False).logits
    other = capture_and_rebuild(model, text, streams=True)
    if not torch.allclose(perplexity.token_nats(logits, text), other["nats"], rtol=AGREES, atol=AGREES):
        raise RuntimeError("the two ways disagree on the loss")
    for name in ("first_key_mass", "row_entropy", "first_norm", "entropy", "entropy_without_first"):
        mine, depths = seen[name].double(), len(other[name])
        if not torch.allclose(mine[:depths], other[name].double(), rtol=AGREES, atol=AGREES):
            raise RuntimeError(f"the two ways disagree on {name}")


def disrupted(model: PreTrainedModel, texts: Tensor) -> list[dict[str, Any]]:
    """Losses under massive and random zeroing, each condition once, and again for every seed."""
    texts = texts[:DISRUPTED, :256]
    masks = drawn_masks(model, texts)
    names = [str(index) for index in range(len(texts))]
    each = masks.assign({tensor: masks[tensor].expand_dims(text=names) for tensor in disruption.HEADS})

    def ours() -> object:
        return disruption.disrupt(model, texts, each, ids=names, halves=["A"] * len(texts))

    def looped() -> object:
        return seed_by_seed(model, texts, masks, SEEDS)

    return [row.as_dict() for row in in_turn({"each condition once": ours, "every seed anew": looped}, rounds=2)]


@torch.no_grad()
def drawn_masks(model: PreTrainedModel, texts: Tensor) -> xr.Dataset:
    """Masks of a baseline, the massive channels and as many random draws as the study has seeds."""
    seen = observe.observe(model, texts, ids=["0", "1"], halves=["A", "A"], phenomena=(massive_values,))
    norms = seen[["query_norm", "key_norm"]].isel(selected_on=0).sel(site="attended", drop=True)
    draws = [disruption.masks(norms, disruption.equal_dose(norms, norms), seed=seed) for seed in range(SEEDS)]
    random = [
        draw.sel(condition=["random-0"]).assign_coords(condition=[f"random-{seed}"]) for seed, draw in enumerate(draws)
    ]
    joined = xr.concat(
        [draws[0].sel(condition=["baseline", "massive"]), *random],
        "condition",
        data_vars="minimal",
        coords="minimal",
        compat="override",
    )
    assert np.unique(joined["condition"]).size == SEEDS + 2
    return joined
