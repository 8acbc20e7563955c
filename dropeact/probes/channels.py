"""Channels of queries and keys replaced by a number that their prompt gives: values that a model can enter.

The prompt is what the call that begins a text holds. Its tokens are replaced there, once: the cache keeps the replaced
keys, tokens written later keep their own queries and keys, and attend to the replaced ones.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel

from dropeact.axes import InputError
from dropeact.probes.architectures import TensorName, blocks_of
from dropeact.probes.attention import attending
from dropeact.probes.edits import Call, Heads, editing_projections, prompt_tokens
from dropeact.probes.rows import Attended

Value = Literal["zero", "mean", "min", "max"]
Site = Literal["attended", "projected"]
BySequence = Float[Tensor, "batch head token head_dim"]


@runtime_checkable
class Choice(Protocol):
    """Which channels of one tensor of one layer, given their norms over the prompt."""

    def of(
        self, tensor: TensorName, layer: int, norms: Float[Tensor, "batch head dim"]
    ) -> Bool[Tensor, "#batch head dim"]:
        """The chosen channels of every head."""
        ...


@dataclass(frozen=True)
class Fixed:
    """The same channels for every prompt, per row of the batch or one choice for all."""

    query: Bool[Tensor, "#batch layer head dim"]
    key: Bool[Tensor, "#batch layer kv_head dim"]

    def of(
        self, tensor: TensorName, layer: int, norms: Float[Tensor, "batch head dim"]
    ) -> Bool[Tensor, "#batch head dim"]:
        """The chosen channels of every head."""
        chosen = self.query if tensor == "query" else self.key
        return chosen[:, layer].to(norms.device)


@dataclass(frozen=True)
class OnePerHead:
    """In every head the channel with the largest norm over the prompt, or the smallest; no threshold.

    References
    ----------
    Jin et al. (2025), the disrupted channel and its control; arXiv:2502.01563 (their code).
    """

    largest: bool = True

    def of(
        self, tensor: TensorName, layer: int, norms: Float[Tensor, "batch head dim"]
    ) -> Bool[Tensor, "batch head dim"]:
        """The chosen channel of every head."""
        place = norms.argmax(-1, keepdim=True) if self.largest else norms.argmin(-1, keepdim=True)
        return torch.zeros_like(norms, dtype=torch.bool).scatter_(-1, place, True)


@dataclass(frozen=True)
class ReplaceDims:
    """Give chosen channels of queries and keys one value at every token of the prompt.

    x[h, t, d] = value over the prompt's tokens s of x[h, s, d]: their mean, smallest or largest; or 0. Padding is no
    token. `site`: `attended`, after QK-norm and rotation, or `projected`, where rotation then turns the constant.
    `prompt` gives the length of every row's prompt, or one for all: a text passed at once is else all prompt.

    References
    ----------
    Jin et al. (2025), one channel per head, mean, at prefill only; arXiv:2502.01563 (their code).
    """

    choice: Choice
    value: Value = "mean"
    site: Site = "attended"
    prompt: tuple[int, ...] | None = None

    @contextmanager
    def entered(self, model: PreTrainedModel) -> Iterator[None]:
        """Apply the change to every forward pass inside.

        Raises
        ------
        InputError
            When a prompt is not whole in one call, or the cache is not one that grows with the text.
        """
        with self._projected(model) if self.site == "projected" else self._attended(model):
            yield

    def _projected(self, model: PreTrainedModel):
        def edit(call: Call, heads: Heads) -> Heads:
            if call.tensor == "value":
                return heads
            where, numbers = self._replacement(call.tensor, call.layer, heads.transpose(1, 2), call.positions)
            return torch.where(where, numbers, heads.transpose(1, 2)).transpose(1, 2)

        return editing_projections(model, None, edit)

    @contextmanager
    def _attended(self, model: PreTrainedModel) -> Iterator[None]:
        layers = {id(block.attention): block.layer for block in blocks_of(model)}
        caches: dict[int, Cache | None] = {}

        def edit(attended: Attended) -> Attended:
            layer, tokens = layers[id(attended.module)], attended.query.shape[2]
            if attended.positions is None:
                raise InputError("expected position_ids at every attention; got none; choose another checkpoint")
            here, numbers = self._replacement("query", layer, attended.query, attended.positions)
            query = torch.where(here, numbers, attended.query)
            before, own = attended.key[:, :, :-tokens], attended.key[:, :, -tokens:]
            here, numbers = self._replacement("key", layer, own, attended.positions)
            if here.any():
                _keep(caches[layer], attended.module, here, numbers)
            return replace(attended, query=query, key=torch.cat([before, torch.where(here, numbers, own)], 2))

        with ExitStack() as stack:
            for block in blocks_of(model):
                hook = block.attention.register_forward_pre_hook(_hear_cache(caches, block.layer), with_kwargs=True)
                stack.callback(hook.remove)
            stack.enter_context(attending(model, editors=[edit]))
            yield

    def _replacement(
        self, tensor: TensorName, layer: int, heads: BySequence, positions: Tensor
    ) -> tuple[Bool[Tensor, "batch head token head_dim"], Float[Tensor, "batch head 1 head_dim"]]:
        """Which numbers are replaced, and by which."""
        prompt = prompt_tokens(positions.expand(len(heads), -1), self.prompt)[:, None, :, None]
        norms = torch.linalg.vector_norm(heads.float() * prompt, dim=2)
        chosen = self.choice.of(tensor, layer, norms)[:, :, None]
        return prompt & chosen, OVER_PROMPT[self.value](heads, prompt).to(heads.dtype)


def _mean(heads: BySequence, prompt: Tensor) -> Tensor:
    return (heads.float() * prompt).sum(2, keepdim=True) / prompt.sum(2, keepdim=True).clamp(min=1)


OVER_PROMPT: dict[str, Callable[[BySequence, Tensor], Tensor]] = {
    "zero": lambda heads, prompt: torch.zeros_like(heads[:, :, :1]),
    "mean": _mean,
    "min": lambda heads, prompt: heads.masked_fill(~prompt, torch.inf).amin(2, keepdim=True),
    "max": lambda heads, prompt: heads.masked_fill(~prompt, -torch.inf).amax(2, keepdim=True),
}


def _hear_cache(caches: dict[int, Cache | None], layer: int) -> Callable[[nn.Module, tuple, dict], None]:
    def enters(_module: nn.Module, _args: tuple, kwargs: dict) -> None:  # its name differs between architectures
        caches[layer] = next((value for value in kwargs.values() if isinstance(value, Cache)), None)

    return enters


def _keep(cache: Cache | None, module: nn.Module, where: Tensor, numbers: Tensor) -> None:
    """Put replaced keys of a call's tokens into the cache, in the place of those that it took up before attention."""
    if cache is None:
        return
    if not isinstance(cache, DynamicCache):
        raise InputError(f"expected a cache that grows with the text; got {type(cache).__name__}; use DynamicCache")
    held = cache.layers[module.layer_idx]  # pyright: ignore[reportArgumentType, reportCallIssue] - every attention module has its index
    keys: Tensor = held.keys
    own = min(where.shape[2], keys.shape[2])  # a sliding window keeps the last ones only
    replaced = torch.where(where[:, :, -own:], numbers.to(keys), keys[:, :, -own:])
    held.keys = torch.cat([keys[:, :, :-own], replaced], 2)


@dataclass(frozen=True)
class ZeroProjectedDims:
    """Set channels of queries and keys to 0 as projected, at every token: what `ZeroDims` does, before rotation.

    References
    ----------
    Africa (2026), experiment 2 (their hooks on the projections).
    """

    query: Bool[Tensor, "#batch layer head dim"]
    key: Bool[Tensor, "#batch layer kv_head dim"]

    @contextmanager
    def entered(self, model: PreTrainedModel) -> Iterator[None]:
        """Apply the change to every forward pass inside."""
        chosen = {"query": self.query, "key": self.key}

        def edit(call: Call, heads: Heads) -> Heads:
            if call.tensor == "value":
                return heads
            return heads.masked_fill(chosen[call.tensor][:, call.layer, None].to(heads.device), 0)

        with editing_projections(model, None, edit):
            yield
