"""Queries, keys and values of one layer -> rows of attention and the output, a block of queries at a time.

Scores and softmax are computed once, in float32: O(block x keys) memory, on a CPU about as fast as a fused kernel. No
score is clamped.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dropeact.checkpoints.products import IS_THERE, product, serves

BLOCK_ELEMENTS = {"cpu": 2**18}
BLOCK_ELEMENTS_ELSEWHERE = 2**26
OUTER_AT_ONCE = 1024  # products of one size reuse their memory; those that grow with the keys leave gaps behind
SMALLEST_BLOCK = 128 if IS_THERE else 16  # fewer queries would leave oneDNN and its threads half idle
LEAST = -87.0  # below it exp leaves the normal float32 numbers and takes 50 times as long; weights there are 0


@dataclass(frozen=True)
class Attended:
    """One layer's queries, keys and values as attended; keys and values once per key/value head."""

    module: nn.Module
    query: Float[Tensor, "batch head query head_dim"]
    key: Float[Tensor, "batch kv_head key head_dim"]
    value: Float[Tensor, "batch kv_head key value_dim"]
    scaling: float
    positions: Int[Tensor, "#batch query"] | None = None


@dataclass(frozen=True)
class Rows:
    """Attention of the queries `first`, `first + 1`, ... to the first keys, all that they see among them, in float32.

    `scores` are relative to the row's largest one (a shift that no softmax sees) and very negative where masked;
    `exponentials` are exp(scores), 0 where masked or below e^-87. `summed` adds them over the keys; a learned sink
    makes `total`, what weights divide by, larger. The next block overwrites both: keep reductions, never these.
    """

    first: int
    scores: Float[Tensor, "batch head query key"]
    exponentials: Float[Tensor, "batch head query key"]
    summed: Float[Tensor, "batch head query"]
    total: Float[Tensor, "batch head query"]

    @property
    def first_key(self) -> Float[Tensor, "batch head query"]:
        """Weight that each query gives to key 0."""
        return self.exponentials[..., 0] / self.total

    @cached_property
    def weights(self) -> Float[Tensor, "batch head query key"]:
        """The softmax: exponentials / total. A pass over the block that readings of a few keys do without."""
        return self.exponentials / self.total[..., None]

    @cached_property
    def visible(self) -> Bool[Tensor, "batch head query key"]:
        """Which keys a query may attend to."""
        return self.scores > torch.finfo(self.scores.dtype).min / 2


def blocks(
    attended: Attended, mask: Tensor | None, options: dict
) -> Iterator[tuple[Rows, Float[Tensor, "batch head query value_dim"]]]:
    """Rows and output of one block of queries after the other.

    scores = cap(scaling q k^T) + mask, cap(s) = softcap tanh(s / softcap); weights = softmax(scores), where a learned
    sink adds exp(sink) to the sum and nothing else; output = weights v.
    """
    queries, keys = attended.query.shape[2], attended.key.shape[2]
    causal = mask is None and queries > 1 and is_causal(attended.module, options)
    key, value = attended.key.float().contiguous().mT, attended.value.float().contiguous()
    scaled = attended.query.float() * attended.scaling
    key = key if serves(scaled, key) else key.contiguous()
    size = _block_size(scaled, keys)
    step = max(size, keys // 16) if serves(scaled, key) else size  # oneDNN keeps code for every number of keys
    hidden = torch.ones(size, size + step, dtype=torch.bool, device=scaled.device).triu(1)
    room = scaled.new_empty(2, scaled.shape[0] * scaled.shape[1] * size * keys)  # new pages for every block cost more
    for first in range(0, queries, size):
        last = min(first + size, queries)
        seen = min(-(-last // step) * step, keys) if causal else keys
        scores = _grouped(scaled[:, :, first:last], key[..., :seen], room[0])
        if options.get("softcap") is not None:
            scores.div_(options["softcap"]).tanh_().mul_(options["softcap"])
        if causal:
            scores[..., first:].masked_fill_(hidden[: last - first, : seen - first], _minimum(scores))
        elif mask is not None:
            _mask(scores, mask[:, :, first:last, :seen])
        rows = softmax(first, scores, options.get("s_aux"), room[1])
        yield rows, _grouped(rows.exponentials, value[:, :, :seen]).div_(rows.total[..., None])


def over_keys(
    one: Float[Tensor, "batch head query key"], other: Float[Tensor, "batch head query key"]
) -> Float[Tensor, "batch head query"]:
    """The sum over the keys of a product of two blocks of rows."""
    if one.device.type == "cpu":
        return torch.einsum("bhqk,bhqk->bhq", one, other)  # twice as fast as vecdot here
    return (one * other).sum(-1)  # einsum would ask for a hundred thousand products of two vectors


def is_causal(module: nn.Module, options: dict) -> bool:
    """Whether queries see only keys up to their own: as the call says, else as the layer does."""
    given = options.get("is_causal")
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _grouped(
    per_head: Float[Tensor, "batch head query inner"],
    per_kv_head: Float[Tensor, "batch kv_head inner outer"],
    room: Float[Tensor, " elements"] | None = None,
) -> Float[Tensor, "batch head query outer"]:
    """Matrix product in which consecutive query heads share a key/value head, in `room` if any is given."""
    batch, heads, queries, inner = per_head.shape
    grouped, shared = per_head.reshape(batch * per_kv_head.shape[1], -1, inner), per_kv_head.flatten(0, 1)
    shape = (*grouped.shape[:2], shared.shape[2])
    place = grouped.new_empty(shape) if room is None else _within(room, shape)
    if serves(grouped, shared):
        for made, rows, columns in zip(place, grouped, shared, strict=True):
            for part, some in zip(made.split(OUTER_AT_ONCE, 1), columns.mT.split(OUTER_AT_ONCE), strict=True):
                part.copy_(product(rows, some))
    else:
        torch.bmm(grouped, shared, out=place)
    return place.view(batch, heads, queries, -1)


def _within(room: Float[Tensor, " elements"], shape: Sequence[int]) -> Tensor:
    """The first elements of `room`, in that shape."""
    return room[: math.prod(shape)].view(*shape)


def softmax(
    first: int,
    scores: Float[Tensor, "batch head query key"],
    sink: Tensor | None,
    room: Float[Tensor, " elements"] | None = None,
) -> Rows:
    """Rows of a softmax; `scores` are overwritten, and the exponentials lie in `room` if any is given."""
    largest = scores.amax(-1, keepdim=True)
    sinks = None if sink is None else sink.float().view(1, -1, 1, 1)
    if sinks is not None:
        largest = torch.maximum(largest, sinks)
    place = None if room is None else _within(room, scores.shape)
    exponentials = torch.clamp(scores.sub_(largest), min=LEAST, out=place).exp_()
    nn.functional.threshold_(exponentials, 1.1 * math.exp(LEAST), 0)
    summed = exponentials.sum(-1)
    total = summed if sinks is None else summed + (sinks - largest).exp().squeeze(-1)
    return Rows(first, scores, exponentials, summed, total)


def _mask(scores: Float[Tensor, "batch head query key"], mask: Tensor) -> None:
    """Mask in place: True may be seen, or numbers to add (-inf among them)."""
    if mask.dtype == torch.bool:
        scores.masked_fill_(~mask, _minimum(scores))
    else:
        scores.add_(mask.float()).clamp_(min=_minimum(scores))


def _minimum(scores: Tensor) -> float:
    """The most negative finite number: exp gives exactly 0, and 0 times it is 0, which -inf would not be."""
    return torch.finfo(scores.dtype).min


def _block_size(query: Float[Tensor, "batch head query head_dim"], keys: int) -> int:
    """Queries per block: as many as keep the scores in a CPU core's cache, or in a share of a device's memory."""
    elements = BLOCK_ELEMENTS.get(query.device.type, BLOCK_ELEMENTS_ELSEWHERE)
    return max(SMALLEST_BLOCK, min(query.shape[2], elements // (query.shape[0] * query.shape[1] * keys)))
