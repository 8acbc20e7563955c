"""What the probes and sets are compared with: capturing everything and rebuilding it, and a loop over seeds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import xarray as xr
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dropeact.measurements.disruption import HEADS
from dropeact.measurements.perplexity import token_nats
from dropeact.probes.interventions import ZeroDims, intervening

NAME = "benchmark_capture"
Captured = list[tuple[Tensor, Tensor, Tensor]]
_captured: Captured = []


def _capture(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options):
    _captured.append((query, key, value))
    return sdpa_attention_forward(module, query, key, value, mask, **options)


AttentionInterface.register(NAME, _capture)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def implementation(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Another attention function for a while."""
    before = model.config._attn_implementation or "sdpa"
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@torch.no_grad()
def eager_attentions(model: PreTrainedModel, tokens: Tensor) -> dict[str, Tensor]:
    """Sink mass and row entropy from the matrices that eager attention returns, all layers at once."""
    with implementation(model, "eager"):
        attentions = model(tokens, use_cache=False, output_attentions=True, logits_to_keep=1).attentions
    return _from_matrices(list(attentions))


@torch.no_grad()
def capture_and_rebuild(model: PreTrainedModel, tokens: Tensor, *, streams: bool = False) -> dict[str, Tensor]:
    """Keep q, k and v of every layer, then rebuild each attention matrix; `streams` adds losses, norms and entropies.

    The singular values of the stream come from an SVD of the tokens in float64, with and without the first token.
    """
    _captured.clear()
    with implementation(model, NAME):
        output = model(tokens, use_cache=False, logits_to_keep=0 if streams else 1, output_hidden_states=streams)
    statistics = _from_matrices(rebuilt(query, key) for query, key, _value in _captured)
    if streams:
        names = ("query", "key", "value")
        norms = {f"{name}_norm": [c[i].norm(dim=-2) for c in _captured] for i, name in enumerate(names)}
        statistics |= {name: torch.stack(values) for name, values in norms.items()}
        statistics |= stream_statistics(output.hidden_states[:-1])  # the last is after the final norm
        statistics["nats"] = token_nats(output.logits, tokens)
    _captured.clear()
    return statistics


def rebuilt(query: Tensor, key: Tensor) -> Tensor:
    """The whole attention matrix of one layer (batch, head, query, key)."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query @ key.mT * query.shape[-1] ** -0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill_(hidden, float("-inf")).softmax(-1)


def _from_matrices(matrices: Iterator[Tensor] | list[Tensor]) -> dict[str, Tensor]:
    mass, entropy = zip(*((m[..., 0].clone(), torch.special.entr(m).sum(-1)) for m in matrices), strict=True)
    return {"first_key_mass": torch.stack(mass), "row_entropy": torch.stack(entropy)}


def stream_statistics(streams: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """First norms and entropies with and without the first token, from singular values in float64."""
    values = [[_entropy(hidden.double()), _entropy(hidden[:, 1:].double())] for hidden in streams]
    entropies = [torch.stack(column) for column in zip(*values, strict=True)]
    norms = torch.stack([hidden.norm(dim=-1) for hidden in streams])
    return {"first_norm": norms[..., 0], "entropy": entropies[0], "entropy_without_first": entropies[1]}


def _entropy(tokens: Tensor) -> Tensor:
    power = torch.linalg.svdvals(tokens).square()
    return torch.special.entr(power / power.sum(-1, keepdim=True)).sum(-1)


@torch.no_grad()
def seed_by_seed(model: PreTrainedModel, tokens: Tensor, masks: xr.Dataset, seeds: int) -> Tensor:
    """Loss (text, seed, condition) of baseline, massive and random, every condition again for every seed."""
    losses = [
        [[_loss(model, text[None], masks, name) for name in ("baseline", "massive", f"random-{seed}")]
         for seed in range(seeds)]
        for text in tokens
    ]  # fmt: skip
    return torch.tensor(losses)


def _loss(model: PreTrainedModel, text: Tensor, masks: xr.Dataset, condition: str) -> float:
    chosen = masks.sel(condition=[condition])
    zeroed = ZeroDims(*(torch.from_numpy(chosen[tensor].values) for tensor in HEADS))
    with intervening(model, zeroed):
        return float(token_nats(model(text, use_cache=False).logits, text).mean())
