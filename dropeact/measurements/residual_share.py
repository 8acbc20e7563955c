"""What blocks add to the stream -> attention's share of it, token by token, per class of tokens."""

import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from dropeact.measurements import massive_activations
from dropeact.probes.probing import Readings, Seen
from dropeact.probes.residual import Added

TOKEN_CLASSES = ("first", "massive", "ordinary")
QUANTITIES = ("attention_share", "attention_projection", "mlp_projection", "attention_norm", "mlp_norm")


def read_added(added: Added) -> dict[str, Tensor]:
    """Shares and projections of every token.

    share = |a| / (|a| + |m|); the signed projections <a, delta> / |delta|^2 and <m, delta> / |delta|^2, where
    delta = a + m, add up to 1
    """
    a, m = added.attention.float(), added.mlp.float()
    delta = a + m
    norm_a, norm_m, length = a.norm(dim=-1), m.norm(dim=-1), delta.square().sum(-1)
    values = (norm_a / (norm_a + norm_m), (a * delta).sum(-1) / length, (m * delta).sum(-1) / length, norm_a, norm_m)
    return dict(zip(QUANTITIES, values, strict=True))


READINGS = massive_activations.READINGS + Readings(added=(read_added,))


def medians(
    values: Float[Tensor, "layer batch token"], members: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch layer"]:
    """Median over the tokens that are members; NaN where none is."""
    return values.where(members, torch.nan).nanquantile(0.5, dim=-1).T


def labelled(seen: Seen) -> xr.Dataset:
    """Medians over the tokens of each class (text, layer, token_class), and the study's share (text, layer).

    first: token 0; massive: other tokens with a massive activation at any depth (a delimiter, in Llama-2); ordinary:
    the rest. attention_share_of_means = mean|a| / (mean|a| + mean|m|), means over all tokens.

    References
    ----------
    Classes: Sun et al. (2024), arXiv:2402.17762. Share of means: the study's experiments 8 and 9.
    """
    massive = massive_activations.massive_tokens(seen)
    first = torch.zeros_like(massive)
    first[:, 0] = True
    classes = (first, massive & ~first, ~massive & ~first)
    dims = ("text", "layer", "token_class")
    by_class = {
        name: (dims, torch.stack([medians(seen[name], members) for members in classes], -1).numpy())
        for name in QUANTITIES
    }
    attention, mlp = (seen[name].mean(-1).T for name in ("attention_norm", "mlp_norm"))
    of_means = ("text", "layer"), (attention / (attention + mlp)).numpy()
    return xr.Dataset(by_class | {"attention_share_of_means": of_means}, coords={"token_class": list(TOKEN_CLASSES)})
