"""Queries, keys and values exactly as attention uses them -> its output, and rows of attention while they exist.

Scores, softmax and every reading are computed once, in float32, a block of queries at a time: O(block x keys) memory,
on a CPU about as fast as a fused kernel. No score is clamped. Who asks for the weight on the first key alone gets it
from the fused kernel's own normaliser. Reading and editing happen inside the registered attention function, so that
they see what enters q k^T in every architecture: after QK-norm, rotation and the cache.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dropeact.checkpoints.products import IS_THERE, product, serves

# transformers gives names that contain sdpa, flash, flex_attention or a slash a meaning of their own.
NAME = "dropeact_rows"
BLOCK_ELEMENTS = {"cpu": 2**18}
BLOCK_ELEMENTS_ELSEWHERE = 2**26
OUTER_AT_ONCE = 1024  # products of one size reuse their memory; those that grow with the keys leave gaps behind
SMALLEST_BLOCK = 128 if IS_THERE else 16  # fewer queries would leave oneDNN and its threads half idle
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
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


@runtime_checkable
class Observer(Protocol):
    """Who listens to attention: rows, and weights on the first key, are computed only for one that wants them."""

    wants_rows: bool
    wants_first_key: bool

    def attended(self, attended: Attended) -> None:
        """Read one layer's queries, keys and values."""

    def rows(self, module: nn.Module, rows: Rows) -> None:
        """Read a block of rows of one layer."""

    def first_key(self, module: nn.Module, first: int, weight: Float[Tensor, "batch head query"]) -> None:
        """Read the weights that the queries `first`, `first + 1`, ... of one layer give to key 0."""

    def outputs(self, attended: Attended, output: Float[Tensor, "batch head query value_dim"]) -> None:
        """Read what the heads of one layer give, before the output projection."""


Editor = Callable[[Attended], Attended]
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)
_editors: ContextVar[tuple[Editor, ...]] = ContextVar("editors", default=())


@contextmanager
def attending(
    model: PreTrainedModel, *, observer: Observer | None = None, editors: Sequence[Editor] = ()
) -> Iterator[None]:
    """Let `model` attend through `attend`, with an observer and more editors; what was set before is set again after.

    Editors of nested calls apply from the outermost to the innermost; observers see what the editors made.
    """
    before = model.config._attn_implementation or "eager"
    observing = _observer.set(observer or _observer.get())
    editing = _editors.set((*_editors.get(), *editors))
    try:
        model.set_attn_implementation(NAME)
        yield
    finally:
        model.set_attn_implementation(before)
        _editors.reset(editing)
        _observer.reset(observing)


def attend(
    module: nn.Module,
    query: Float[Tensor, "batch head query head_dim"],
    key: Float[Tensor, "batch kv_head key head_dim"],
    value: Float[Tensor, "batch kv_head key value_dim"],
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **options,
) -> tuple[Float[Tensor, "batch query head value_dim"], None]:
    """Attention as transformers calls it; edits q, k, v first, then lets the observer read."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended = Attended(module, query, key, value, scale, options.get("position_ids"))
    for edit in _editors.get():
        attended = edit(attended)
    observer = _observer.get()
    if observer is not None:
        observer.attended(attended)
    simple = options.get("softcap") is None and options.get("s_aux") is None
    if simple and (observer is None or not (observer.wants_rows or observer.wants_first_key)):
        output = _fused(attended, attention_mask, options)
    elif simple and observer is not None and not observer.wants_rows and _is_plain(attended, attention_mask, options):
        output, weight = with_first_key(attended)
        observer.first_key(module, 0, weight)
    else:
        output = _read_in_blocks(attended, attention_mask, options, observer)
    if observer is not None:
        observer.outputs(attended, output)
    return output.to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def _fused(attended: Attended, mask: Tensor | None, options: dict) -> Float[Tensor, "batch head query value_dim"]:
    """The output alone, by a fused kernel; with a mask on a CPU no key or value is repeated for its query heads."""
    inputs = (attended.query, attended.key, attended.value)
    scale = attended.scaling
    more = options.get("position_bias") is not None or bool(options.get("dropout"))
    if mask is None or attended.query.device.type != "cpu" or more:
        return sdpa_attention_forward(attended.module, *inputs, mask, scaling=scale, **options)[0].transpose(1, 2)
    return nn.functional.scaled_dot_product_attention(*inputs, attn_mask=mask, scale=scale, enable_gqa=True)


def with_first_key(
    attended: Attended,
) -> tuple[Float[Tensor, "batch head query value_dim"], Float[Tensor, "batch head query"]]:
    """Causal attention by the CPU's fused kernel, and the weight on key 0 from the normaliser that it returns.

    a_i0 = exp(-ln sum_{j <= i} exp(scaling q_i . (k_j - k_0)))

    Taking k_0 from every key shifts all scores of a query alike: the sum then holds a 1, so that no weight rounds to
    more than 1 however large the scores are.
    """
    groups = attended.query.shape[1] // attended.key.shape[1]
    shifted = attended.key - attended.key[:, :, :1]
    key, value = (heads.repeat_interleave(groups, 1) for heads in (shifted, attended.value))
    output, normaliser = FUSED(attended.query, key, value, 0.0, True, scale=attended.scaling)
    return output, (-normaliser).exp()


def _is_plain(attended: Attended, mask: Tensor | None, options: dict) -> bool:
    """Whether the fused kernel serves: whole texts in float32 on a CPU, each query attending to all keys up to it."""
    query, key, value = attended.query, attended.key, attended.value
    shaped = query.shape[2] == key.shape[2] and key.shape[3] == value.shape[3]
    causal = mask is None and query.shape[2] > 1 and _is_causal(attended.module, options)
    return query.device.type == "cpu" and query.dtype == torch.float32 and shaped and causal


def _read_in_blocks(
    attended: Attended, mask: Tensor | None, options: dict, observer: Observer | None
) -> Float[Tensor, "batch head query value_dim"]:
    """The output, while the observer reads each block of rows."""
    query = attended.query
    output = torch.empty(*query.shape[:-1], attended.value.shape[-1], dtype=torch.float32, device=query.device)
    for rows, values in _blocks(attended, mask, options):
        if observer is not None and observer.wants_first_key:
            observer.first_key(attended.module, rows.first, rows.first_key)
        if observer is not None and observer.wants_rows:
            observer.rows(attended.module, rows)
        output[:, :, rows.first : rows.first + values.shape[2]] = values
    return output


def _blocks(
    attended: Attended, mask: Tensor | None, options: dict
) -> Iterator[tuple[Rows, Float[Tensor, "batch head query value_dim"]]]:
    """Rows and output of one block of queries after the other.

    scores = cap(scaling q k^T) + mask, cap(s) = softcap tanh(s / softcap); weights = softmax(scores), where a learned
    sink adds exp(sink) to the sum and nothing else; output = weights v.
    """
    queries, keys = attended.query.shape[2], attended.key.shape[2]
    causal = mask is None and queries > 1 and _is_causal(attended.module, options)
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
        rows = _softmax(first, scores, options.get("s_aux"), room[1])
        yield rows, _grouped(rows.exponentials, value[:, :, :seen]).div_(rows.total[..., None])


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


def over_keys(
    one: Float[Tensor, "batch head query key"], other: Float[Tensor, "batch head query key"]
) -> Float[Tensor, "batch head query"]:
    """The sum over the keys of a product of two blocks of rows."""
    if one.device.type == "cpu":
        return torch.einsum("bhqk,bhqk->bhq", one, other)  # twice as fast as vecdot here
    return (one * other).sum(-1)  # einsum would ask for a hundred thousand products of two vectors


def _within(room: Float[Tensor, " elements"], shape: Sequence[int]) -> Tensor:
    """The first elements of `room`, in that shape."""
    return room[: math.prod(shape)].view(*shape)


def _softmax(
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


def _is_causal(module: nn.Module, options: dict) -> bool:
    given = options.get("is_causal")
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _block_size(query: Float[Tensor, "batch head query head_dim"], keys: int) -> int:
    """Queries per block: as many as keep the scores in a CPU core's cache, or in a share of a device's memory."""
    elements = BLOCK_ELEMENTS.get(query.device.type, BLOCK_ELEMENTS_ELSEWHERE)
    return max(SMALLEST_BLOCK, min(query.shape[2], elements // (query.shape[0] * query.shape[1] * keys)))
