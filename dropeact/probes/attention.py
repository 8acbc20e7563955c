"""Attention as transformers calls it: editors change queries, keys and values, an observer reads, the output goes on.

Reading and editing happen inside the registered attention function, so that they see what enters q k^T in every
architecture: after QK-norm, rotation and the cache. Who wants rows gets them while they exist (`rows.py`); who asks
for the weight on the first key alone gets it from the fused kernel's own normaliser.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dropeact.probes.rows import Attended, Rows, blocks, is_causal

# transformers gives names that contain sdpa, flash, flex_attention or a slash a meaning of their own.
NAME = "dropeact_rows"
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


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
    causal = mask is None and query.shape[2] > 1 and is_causal(attended.module, options)
    return query.device.type == "cpu" and query.dtype == torch.float32 and shaped and causal


def _read_in_blocks(
    attended: Attended, mask: Tensor | None, options: dict, observer: Observer | None
) -> Float[Tensor, "batch head query value_dim"]:
    """The output, while the observer reads each block of rows."""
    query = attended.query
    output = torch.empty(*query.shape[:-1], attended.value.shape[-1], dtype=torch.float32, device=query.device)
    for rows, values in blocks(attended, mask, options):
        if observer is not None and observer.wants_first_key:
            observer.first_key(attended.module, rows.first, rows.first_key)
        if observer is not None and observer.wants_rows:
            observer.rows(attended.module, rows)
        output[:, :, rows.first : rows.first + values.shape[2]] = values
    return output
