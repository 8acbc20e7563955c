"""Queries and keys -> how long they are at each site, and what of that the softmax can see: spread, centred keys."""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from dropeact.axes import SITES
from dropeact.probes.probing import Readings, Seen
from dropeact.probes.residual import Projected
from dropeact.probes.rows import Attended, Rows, over_keys


def lengths(heads: Float[Tensor, "batch head token head_dim"]) -> Float[Tensor, " batch"]:
    """Mean over the tokens, the first one among them, of the norm over all heads and channels."""
    return heads.float().square().sum((1, 3)).sqrt().mean(-1)


def logit_spread(rows: Rows) -> Float[Tensor, "batch head query"]:
    """Standard deviation of a query's scores over the keys it may attend to: what sharpens a softmax.

    sd_j(scaling q_t k_j), dividing by the number of keys
    """
    visible = rows.visible
    count = visible.sum(-1)
    scores = rows.scores.where(visible, 0)  # at most 0, and 0 at the largest: squares cancel little
    square = over_keys(scores, scores) / count
    return (square - (scores.sum(-1) / count).square()).clamp(min=0).sqrt()


def key_norms(attended: Attended) -> dict[str, Tensor]:
    """Mean norms of a head's keys, as they are and after their mean is taken away: |k_j - mean_j k|.

    A vector common to all keys shifts every score of a query alike, and no softmax sees it.
    """
    key = attended.key.float()
    centred = key - key.mean(2, keepdim=True)
    return {"key_head_norm": key.norm(dim=-1).mean(-1), "key_centred_norm": centred.norm(dim=-1).mean(-1)}


def attended_lengths(attended: Attended) -> dict[str, Tensor]:
    """Lengths of what enters q k^T."""
    return {"query-length-attended": lengths(attended.query), "key-length-attended": lengths(attended.key)}


def projected_lengths(projected: Projected) -> dict[str, Tensor]:
    """Lengths of what a projection gives."""
    return {f"{projected.tensor}-length-projected": lengths(projected.heads.transpose(1, 2))}


READINGS = Readings(
    attended=(attended_lengths, key_norms),
    rows=(lambda rows: {"logit_spread": logit_spread(rows)},),
    projected=(projected_lengths,),
)


def labelled(seen: Seen) -> xr.Dataset:
    """Lengths (text, layer, site), logit spread over t >= 1 (text, layer, head), key norms (text, layer, kv_head)."""
    by_site = {
        f"{tensor}_length": torch.stack([seen[f"{tensor}-length-{site}"].T for site in SITES], -1).numpy()
        for tensor in ("query", "key")
    }
    spread = seen["logit_spread"][..., 1:].mean(-1).transpose(0, 1)
    heads = {name: seen[name].transpose(0, 1).numpy() for name in ("key_head_norm", "key_centred_norm")}
    return xr.Dataset(
        {name: (("text", "layer", "site"), value) for name, value in by_site.items()}
        | {"logit_spread": (("text", "layer", "head"), spread.numpy())}
        | {name: (("text", "layer", "kv_head"), value) for name, value in heads.items()},
        coords={"site": list(SITES)},
    )
