"""The study's read-outs beside the sound ones, on a few texts: short prompts, no rotation, padding, repetition."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import MASSIVE_THRESHOLD, REBUILDINGS, SINK_LENGTH, SINK_THRESHOLD
from dropeact.measurements import attention, massive_values, observe, residual, spectra
from dropeact.probes.probing import Readings, Seen, probing
from dropeact.probes.residual import Projected
from dropeact.probes.rows import Attended

VERSION = 1
TEXTS = 4  # of each half
LENGTHS = (6, 7, 8, 9, SINK_LENGTH)
PADDED_LENGTH = 256


def contrasts(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    *,
    ids: Sequence[str],
    halves: Sequence[str],
    pad_id: int,
) -> xr.Dataset:
    """Sinks of short prompts, with and without rotation, and entropy with and without padding, from 64 tokens a text.

    `sink_rate` (text, layer, rebuilding, length, convention): share of heads whose sink score reaches 0.3; the first L
    tokens of a causal model are the prompt of L tokens. `rebuilt_entropy` (text, layer, rebuilding): mean over heads
    and queries t >= 1, in nats. `padding_entropy` (text, depth, padding): entropy of the representations over the
    text's rows, and over its rows and those of the padding up to 256 tokens, which no token of the text attends to.
    """
    used = attention.READINGS + Readings(attended=(_scaling,), projected=(_projected,), stream=(_entropy,))
    with probing(model, used) as seen:
        model(tokens, use_cache=False, logits_to_keep=1)
    with probing(model, Readings(stream=(_entropy,))) as padded:
        model(**padding(tokens, pad_id=pad_id, length=PADDED_LENGTH), use_cache=False, logits_to_keep=1)
    as_used = seen["first_key_mass"], seen["row_entropy"]
    both = [labelled(*parts) for parts in (as_used, rebuilt(seen))]
    entropies = np.stack([part["entropy"].T.numpy() for part in (seen, padded)], -1)
    joined = xr.concat(both, xr.Variable("rebuilding", list(REBUILDINGS)), coords="minimal", compat="override")
    layers, depths = joined.sizes["layer"], entropies.shape[1]
    return (
        joined.transpose("text", "layer", "rebuilding", ...)
        .assign(padding_entropy=(("text", "depth", "padding"), entropies))
        .assign_coords(
            text=list(ids),
            half=("text", list(halves)),
            layer=range(layers),
            depth=range(depths),
            padding=["unpadded", "padded"],
        )
    )


def padding(tokens: Int[Tensor, "text token"], *, pad_id: int, length: int) -> dict[str, Tensor]:
    """The texts with pads to the right up to `length`, and the mask that hides the pads as keys."""
    texts, real = tokens.shape
    pads = torch.full((texts, length - real), pad_id, dtype=tokens.dtype, device=tokens.device)
    mask = (torch.arange(length, device=tokens.device) < real).long().expand(texts, -1)
    return {"input_ids": torch.cat([tokens, pads], 1), "attention_mask": mask}


def rebuilt(seen: Seen) -> tuple[Float[Tensor, "layer text head query"], Float[Tensor, "layer text head query"]]:
    """Mass on the first key and entropy of attention rebuilt from projections: no rotation, no QK-norm, in float64.

    a = softmax(scaling q k^T) over the keys up to the query, q and k as `q_proj` and `k_proj` give them

    References
    ----------
    What the study's scripts of experiments 5 and 7 compute, without their clamp to [-100, 100].
    """
    mass, entropy = [], []
    for query, key, scaling in zip(seen["query"], seen["key"], seen["scaling"], strict=True):
        q, k = (heads.double().transpose(1, 2) for heads in (query, key))
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = scaling.double()[:, None, None, None] * q @ k.mT
        hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        mass.append(weights[..., 0].float())
        entropy.append(torch.special.entr(weights).sum(-1).float())
    return torch.stack(mass), torch.stack(entropy)


def labelled(
    mass: Float[Tensor, "layer text head query"], entropy: Float[Tensor, "layer text head query"]
) -> xr.Dataset:
    """Sink rates (text, layer, length, convention) and mean entropies (text, layer) of one way of rebuilding."""
    conventions = attention.CONVENTIONS
    rates = [
        [
            (attention.sink_scores(mass, length=n, with_first_query=c == "with_first_query") >= SINK_THRESHOLD)
            .float()
            .mean(-1)
            for c in conventions
        ]
        for n in LENGTHS
    ]
    stacked = torch.stack([torch.stack(row, -1) for row in rates], -2).transpose(0, 1)
    return xr.Dataset(
        {
            "sink_rate": (("text", "layer", "length", "convention"), stacked.numpy()),
            "rebuilt_entropy": (("text", "layer"), entropy[..., 1:].mean((-2, -1)).T.numpy()),
        },
        coords={"length": list(LENGTHS), "convention": list(conventions)},
    )


def repeated(
    model: PreTrainedModel, tokens: Int[Tensor, "text token"], *, ids: Sequence[str], halves: Sequence[str]
) -> xr.Dataset:
    """Loss `nats_mean` (text) and `massive_count` (text, tensor, site), lambda = 5, of sentences said over and over."""
    observed = observe.observe(model, tokens, ids=ids, halves=halves, phenomena=(massive_values,))
    counts = observed["massive_count"].sel(mean_over="layer", threshold=MASSIVE_THRESHOLD, drop=True).sum("layer")
    return observed[["nats_mean"]].assign(massive_count=counts.transpose("text", "tensor", "site"))


def _scaling(attended: Attended) -> dict[str, Tensor]:
    return {"scaling": torch.full((attended.query.shape[0],), attended.scaling)}


def _projected(projected: Projected) -> dict[str, Tensor]:
    return {} if projected.tensor == "value" else {projected.tensor: projected.heads.float()}


def _entropy(hidden: Float[Tensor, "batch token hidden"]) -> dict[str, Tensor]:
    """Entropy over all rows."""
    return {"entropy": residual.representation_entropy(spectra.spectra(spectra.wide(hidden))[0]).float()}
