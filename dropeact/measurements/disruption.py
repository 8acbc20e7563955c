"""Pooled norms and token ids -> loss in nats per text with massive query and key channels zeroed, beside controls.

Which channels a random control takes is chance. Every text has draws of its own, so that chance is in the spread over
texts, and in every interval: 32 texts have 128 draws. (Four draws for all texts differed by 0.06 nats, three times as
much as their mean between texts.)
"""

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.axes import MASSIVE_THRESHOLD, InputError, other_half
from dropeact.measurements.perplexity import rows_at_once, token_nats
from dropeact.probes.interventions import Intervention, ZeroDims, intervening

VERSION = 1
RANDOM_DRAWS = 4  # a text
RANDOM = tuple(f"random-{draw}" for draw in range(RANDOM_DRAWS))
CONDITIONS = ("baseline", "massive", *RANDOM, "norm-matched")
HEADS = {"query": "head", "key": "kv_head"}
ROWS_AT_ONCE = 8
LOGIT_BYTES = 2**29

Norms = Float[np.ndarray, " channel"]
Chosen = Bool[np.ndarray, " channel"]


def equal_dose(one: xr.Dataset, other: xr.Dataset, *, threshold: float = MASSIVE_THRESHOLD) -> xr.DataArray:
    """How many channels to zero in both models: per layer and tensor, the smaller of their massive counts.

    Massive are norms above `threshold` times the layer's mean. `one` and `other` hold pooled norms `query_norm` (layer,
    head, dim) and `key_norm` (layer, kv_head, dim).

    Raises
    ------
    InputError
        When the models do not have as many layers.
    """
    if one.sizes["layer"] != other.sizes["layer"]:
        raise InputError(
            f"expected two models with as many layers; got {one.sizes['layer']} and {other.sizes['layer']}; "
            "choose a pair made from one parent"
        )
    counts = [[_massive_count(norms, tensor, threshold) for tensor in HEADS] for norms in (one, other)]
    smaller = [xr.where(a < b, a, b) for a, b in zip(*counts, strict=True)]
    return _by_tensor(dict(zip(HEADS, smaller, strict=True))).rename("dose")


def _massive_count(norms: xr.Dataset, tensor: str, threshold: float) -> xr.DataArray:
    matrix = norms[f"{tensor}_norm"]
    axes = [HEADS[tensor], "dim"]
    return (matrix > threshold * matrix.mean(axes)).sum(axes)


def drawn(
    norms: xr.Dataset, dose: xr.DataArray, ids: Sequence[str], *, seed: int, threshold: float = MASSIVE_THRESHOLD
) -> xr.Dataset:
    """The masks of every text (text, condition, ...): it has random draws of its own, whatever texts are beside it."""
    made = [masks(norms, dose, seed=(seed, crc32(name.encode())), threshold=threshold) for name in ids]
    return xr.concat([each.drop_vars("dose") for each in made], xr.Variable("text", list(ids))).assign(dose=dose)


def masks(
    norms: xr.Dataset, dose: xr.DataArray, *, seed: int | Sequence[int], threshold: float = MASSIVE_THRESHOLD
) -> xr.Dataset:
    """Which channels each condition zeroes: `query` (condition, layer, head, dim), `key` (..., kv_head, dim).

    massive: the `dose` largest norms; random-i: as many that are not massive, drawn anew; norm-matched: such ones in
    random order until their sum of squared norms reaches that of the massive ones (`norm_matched_share`: how far they
    get, below 1 where all others together do not, above by at most the last; `norm_matched_count`: how many they are).
    """
    parts = [seed] if isinstance(seed, int) else list(seed)
    chosen = {
        tensor: _chosen(norms[f"{tensor}_norm"], dose.sel(tensor=tensor), tensor, parts, threshold) for tensor in HEADS
    }
    share, count = {}, {}
    for tensor, mask in chosen.items():
        power = _power(norms[f"{tensor}_norm"], mask)
        massive, matched = (power.sel(condition=name, drop=True) for name in ("massive", "norm-matched"))
        share[tensor] = (matched / massive).where(massive > 0, 1).astype(np.float32)
        count[tensor] = mask.sel(condition="norm-matched", drop=True).sum(mask.dims[2:])
    dosage = {"dose": dose, "norm_matched_share": _by_tensor(share), "norm_matched_count": _by_tensor(count)}
    return xr.Dataset(chosen | dosage)


def _by_tensor(values: dict[str, xr.DataArray]) -> xr.DataArray:
    joined = xr.concat(list(values.values()), "tensor", coords="minimal", compat="override")
    return joined.assign_coords(tensor=list(values)).transpose("layer", "tensor")


def _power(norms: xr.DataArray, chosen: xr.DataArray) -> xr.DataArray:
    """Sum of squared norms of the chosen channels (condition, layer)."""
    return (norms.astype(np.float64) ** 2).where(chosen, 0).sum(norms.dims[1:])


def _chosen(norms: xr.DataArray, dose: xr.DataArray, tensor: str, seed: list[int], threshold: float) -> xr.DataArray:
    """Masks (condition, layer, head or kv_head, dim) of one tensor."""
    dims = ("layer", HEADS[tensor], "dim")
    matrices = norms.transpose(*dims).values
    layers = [
        _layer_masks(matrix.ravel(), int(k), [*seed, layer, list(HEADS).index(tensor)], threshold)
        for layer, (matrix, k) in enumerate(zip(matrices, dose.values, strict=True))
    ]
    shape = (len(CONDITIONS), *matrices.shape)
    coords = {dim: norms[dim] for dim in dims if dim in norms.coords}
    stacked = np.stack(layers, axis=1).reshape(shape)
    return xr.DataArray(stacked, dims=("condition", *dims), coords=coords | {"condition": list(CONDITIONS)})


def _layer_masks(norms: Norms, k: int, seed: list[int], threshold: float) -> Bool[np.ndarray, "condition channel"]:
    order = np.argsort(-norms, kind="stable")
    massive = int((norms > threshold * norms.mean()).sum())  # at equal dose a model may have more of them than k
    largest, others = order[:k], np.sort(order[max(k, massive) :])
    drawn = [np.random.default_rng([*seed, draw]).permutation(others)[:k] for draw in range(RANDOM_DRAWS)]
    shuffled = np.random.default_rng([*seed, RANDOM_DRAWS]).permutation(others)
    power = np.cumsum(norms[shuffled].astype(np.float64) ** 2)
    needed = np.searchsorted(power, (norms[largest].astype(np.float64) ** 2).sum()) + 1 if k else 0
    return np.stack([_mask(norms.size, chosen) for chosen in (others[:0], largest, *drawn, shuffled[:needed])])


def _mask(size: int, chosen: Int[np.ndarray, " chosen"]) -> Chosen:
    mask = np.zeros(size, dtype=bool)
    mask[chosen] = True
    return mask


def disrupt(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    masks: xr.Dataset,
    *,
    ids: Sequence[str],
    halves: Sequence[str],
) -> xr.Dataset:
    """Mean loss `nats` (text, condition) of texts of one half, with channels zeroed as attended.

    `masks` are those of `drawn`, from the other half. The conditions of a text are rows of one batch. Beside the losses
    the dataset keeps `dose` (selected_on, layer, tensor), `norm_matched_share` and `norm_matched_count` (text, ...).
    """
    (half,) = set(halves)
    names = masks["condition"].values.tolist()
    query, key = (torch.tensor(masks[tensor].transpose("text", "condition", ...).values) for tensor in HEADS)
    nats = losses(model, tokens, query, key)
    matched = masks[["norm_matched_share", "norm_matched_count"]].transpose("text", ..., missing_dims="ignore")
    return matched.assign(
        dose=masks["dose"].expand_dims(selected_on=np.array([other_half(half)])),
        nats=xr.DataArray(
            nats.cpu().numpy(),
            dims=("text", "condition"),
            coords={"text": list(ids), "half": ("text", list(halves)), "condition": names},
        ),
    )


def losses(
    model: PreTrainedModel,
    tokens: Int[Tensor, "text token"],
    query: Bool[Tensor, "text row layer head dim"],
    key: Bool[Tensor, "text row layer kv_head dim"],
    zeroing: Callable[[Tensor, Tensor], Intervention] = ZeroDims,
) -> Float[Tensor, "text row"]:
    """Mean loss of every text with the channels of each of its rows of masks zeroed; the rows are one batch."""
    size = rows_at_once(model, tokens.shape[1], most=ROWS_AT_ONCE, limit=LOGIT_BYTES)
    found = []
    for text, queries, keys in zip(tokens, query, key, strict=True):
        rows = zip(queries.split(size), keys.split(size), strict=True)
        found.append(torch.cat([_nats(model, text.expand(len(own[0]), -1), zeroing(*own)) for own in rows]))
    return torch.stack(found)


def _nats(model: PreTrainedModel, rows: Int[Tensor, "row token"], zeroed: Intervention) -> Float[Tensor, " row"]:
    """Mean loss of each row, the channels zeroed."""
    with intervening(model, zeroed), torch.no_grad():
        return token_nats(model(rows, use_cache=False).logits, rows).mean(-1)
