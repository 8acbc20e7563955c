"""Token ids -> loss in nats per text with parts of one layer left out, for every layer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements.perplexity import rows_at_once, token_nats
from dropeact.probes.ablations import PARTS, DropOutputs, Part, Tokens
from dropeact.probes.architectures import blocks_of
from dropeact.probes.interventions import intervening
from dropeact.probes.residual import listening_to_stream
from dropeact.probes.resuming import resuming

VERSION = 1
TEXTS_AT_ONCE = 8


class Ablation(NamedTuple):
    """What is left out of a layer, and for which tokens."""

    parts: tuple[Part, ...]
    tokens: Tokens = "all"


ABLATIONS = {
    "mlp": Ablation(("mlp",)),
    "attention": Ablation(("attention",)),
    "both": Ablation(PARTS),
    "first": Ablation(PARTS, "first"),
    "first-mlp": Ablation(("mlp",), "first"),
}


def atlas(
    model: PreTrainedModel, tokens: Int[Tensor, "text token"], name: str, *, ids: Sequence[str], halves: Sequence[str]
) -> xr.Dataset:
    """Mean loss `nats` (text, condition, layer) under one of `ABLATIONS` at each layer; `undisturbed` (text) without.

    mean over targets t >= 1 of the loss of token t. The layers below the changed one are passed once.
    """
    size = rows_at_once(model, tokens.shape[1], most=TEXTS_AT_ONCE)
    parts = [_every_layer(model, batch, ABLATIONS[name]) for batch in tokens.split(size)]
    undisturbed, nats = (torch.cat(losses).cpu().numpy() for losses in zip(*parts, strict=True))
    return xr.Dataset(
        {"nats": (("text", "condition", "layer"), nats[:, None]), "undisturbed": ("text", undisturbed)},
        coords={
            "text": list(ids),
            "half": ("text", list(halves)),
            "condition": np.array([name]),
            "layer": range(nats.shape[1]),
        },
    )


def _every_layer(
    model: PreTrainedModel, tokens: Int[Tensor, "text token"], ablation: Ablation
) -> tuple[Float[Tensor, " text"], Float[Tensor, "text layer"]]:
    stream: list[Tensor] = []
    with listening_to_stream(model, lambda _depth, hidden: stream.append(hidden)):
        undisturbed = _nats(model, tokens)
    losses = []
    for layer in range(len(blocks_of(model))):
        with resuming(model, layer, stream[layer]), intervening(model, DropOutputs(layer, *ablation)):
            losses.append(_nats(model, tokens))
    return undisturbed, torch.stack(losses, 1)


def _nats(model: PreTrainedModel, tokens: Int[Tensor, "text token"]) -> Float[Tensor, " text"]:
    with torch.no_grad():
        return token_nats(model(tokens, use_cache=False).logits, tokens).mean(-1)
