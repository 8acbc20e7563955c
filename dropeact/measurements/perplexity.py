"""Logits and token ids -> loss in nats of every token, by position and per text."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import POSITION_BIN

LOGIT_BYTES = 2**28
LOGITS_AT_ONCE = 2**20  # what stays in a core's cache between the largest logit and the sum, twice as fast as all


def token_nats(
    logits: Float[Tensor, "text token vocabulary"], tokens: Int[Tensor, "text token"]
) -> Float[Tensor, "text target"]:
    """Loss of each next token, targets 1..T-1, in float32.

    nats[t] = ln(sum_v e^{z_{t-1, v}}) - z_{t-1, x_t}
    """
    rows = [_text_nats(row[:-1], ids[1:]) for row, ids in zip(logits, tokens, strict=True)]  # a text at a time: memory
    return torch.stack(rows)


def _text_nats(logits: Float[Tensor, "target vocabulary"], targets: Int[Tensor, " target"]) -> Float[Tensor, " target"]:
    rows = max(1, LOGITS_AT_ONCE // logits.shape[-1])
    return torch.cat([_row_nats(*some) for some in zip(logits.split(rows), targets.split(rows), strict=True)])


def _row_nats(logits: Float[Tensor, "target vocabulary"], targets: Int[Tensor, " target"]) -> Float[Tensor, " target"]:
    logits = logits.float()
    return logits.logsumexp(-1) - logits.gather(-1, targets[:, None]).squeeze(-1)


def labelled(nats: Float[Tensor, "text target"], positions: Sequence[int] | None = None) -> xr.Dataset:
    """Mean loss per text, over all targets and in bins of their own positions (1..T-1 where none are given)."""
    losses = nats.cpu().numpy()
    bins = np.asarray(range(1, losses.shape[1] + 1) if positions is None else positions) // POSITION_BIN
    means = [losses[:, bins == b].mean(1) for b in np.unique(bins)]
    return xr.Dataset(
        {"nats": (("text", "position_bin"), np.stack(means, 1)), "nats_mean": ("text", losses.mean(1))},
        coords={"position_bin": np.unique(bins) * POSITION_BIN},
    )


def rows_at_once(model: PreTrainedModel, length: int, *, most: int, limit: int = LOGIT_BYTES) -> int:
    """How many texts to pass at once so that their logits stay below `limit` bytes; at least 1."""
    return max(1, min(most, limit // (4 * length * model.config.get_text_config().vocab_size)))
