"""Passages joined to longer texts -> the loss by position beyond the length of one passage."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements import perplexity

VERSION = 1
LENGTH = 1024
TEXTS_AT_ONCE = 2


def windows(
    tokens: Int[Tensor, "text token"], ids: Sequence[str], *, separator_id: int | None
) -> tuple[Int[Tensor, "window joined"], list[str]]:
    """Neighbouring texts joined two and two, as in pretraining: one, the separator, the other, `2 T` tokens in all.

    Without a separator the second text follows at once. A last text without a neighbour is left out.
    """
    first, second = tokens[0 : len(tokens) // 2 * 2 : 2], tokens[1::2]
    if separator_id is not None:
        between = torch.full((len(first), 1), separator_id, dtype=tokens.dtype, device=tokens.device)
        first = torch.cat([first[:, :-1], between], dim=1)
    names = [f"{one}+{other}" for one, other in zip(ids[0::2], ids[1::2], strict=False)]
    return torch.cat([first, second], dim=1), names


def loss_curve(
    model: PreTrainedModel,
    tokens: Int[Tensor, "window token"],
    *,
    ids: Sequence[str],
    halves: Sequence[str],
    separated: bool,
    prefixed: bool = False,
) -> xr.Dataset:
    """Mean loss `nats` (text, position_bin) of each window in bins of 128 positions; `nats_mean` (text).

    Two tokens may be read and not predicted. The separator, the last place of the first half: it cuts the first text
    short, where no text ends. And where texts are `prefixed` by their arm, the second one's own first token.
    """
    size = perplexity.rows_at_once(model, tokens.shape[1], most=TEXTS_AT_ONCE)
    middle = tokens.shape[1] // 2
    unscored = [middle - 1] * separated + [middle] * prefixed
    positions = [place for place in range(1, tokens.shape[1]) if place not in unscored]
    with torch.no_grad():
        nats = [perplexity.token_nats(model(batch, use_cache=False).logits, batch) for batch in tokens.split(size)]
    scored = torch.cat(nats)[:, [place - 1 for place in positions]]
    labels = {"text": np.array(ids), "half": ("text", np.array(halves))}
    return perplexity.labelled(scored, positions).assign_coords(labels)
