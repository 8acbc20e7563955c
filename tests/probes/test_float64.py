"""Everything that one pass shows, on every architecture, against attention written down plainly and run in float64."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from dropeact.axes import SINK_LENGTH, TENSORS, THRESHOLDS
from dropeact.measurements import rotary_frequency
from dropeact.measurements.observe import EVERYTHING, observe
from dropeact.measurements.partial_rotation import phenomenon_of
from tests import tiny_models
from tests.tiny_models import standing_out

NAMES = tuple(tiny_models.ARCHITECTURES)
TOKENS = 70
T = torch.arange(TOKENS)
BETWEEN = {"gemma2": "pre_feedforward_layernorm", "gemma3": "pre_feedforward_layernorm", "olmo2": "mlp"}

TURNING = {"phi3": 4, "gpt_neox": 4}  # of the 8 channels of a head


class Exact:
    """One pass in float64: [layer or depth, text, ...] of what the model's own modules were given and gave."""

    def __init__(self, name: str, made: Callable[[str], PreTrainedModel]) -> None:
        self.name, self.ids = name, tiny_models.tokens(2, TOKENS)
        self.model: Any = made(name).double()
        self.kept: dict[str, list[Tensor]] = {}
        with _plain(self), ExitStack() as hooks, torch.no_grad():
            for module, listen in self._places():
                hooks.callback(module.register_forward_pre_hook(listen, with_kwargs=True).remove)
            self.logits = self.model(self.ids, use_cache=False).logits

    def __getitem__(self, name: str) -> Tensor:
        return torch.stack(self.kept[name])

    def keep(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.kept.setdefault(name, []).append(value)

    def _places(self):
        neox = self.name == "gpt_neox"
        base = self.model.gpt_neox if neox else self.model.model
        for block in base.layers:
            yield block, self._entering("stream")
            yield (block.attention if neox else block.self_attn), self._entering("attention_input")
            yield (block.attention.dense if neox else block.self_attn.o_proj), self._entering("heads")
            yield block.get_submodule(BETWEEN.get(self.name, "post_attention_layernorm")), self._entering("middle")
        yield (base.final_layer_norm if neox else base.norm), self._entering("stream")

    def _entering(self, name: str) -> Callable[..., None]:
        return lambda _module, args, kwargs: self.keep(**{name: args[0] if args else kwargs["hidden_states"]})

    def output_weights(self) -> Tensor:
        """W_O of every layer, [layer, hidden, head, channel]."""
        neox = self.name == "gpt_neox"
        name = "gpt_neox.layers.{}.attention.dense.weight" if neox else "model.layers.{}.self_attn.o_proj.weight"
        weights = [self.model.get_parameter(name.format(layer)) for layer in range(3)]
        return torch.stack(weights).unflatten(-1, (self["query"].shape[2], -1))

    def projected(self) -> dict[str, Tensor]:
        """Projections by hand: attention's input times rows of its weights, [layer, text, head, token, channel]."""
        layers = [self._rows(layer) for layer in range(3)]
        width = self["query"].shape[-1]
        return {
            tensor: torch.stack([
                (x @ rows[tensor][0].T + rows[tensor][1]).unflatten(-1, (-1, width)).transpose(1, 2)
                for x, rows in zip(self["attention_input"], layers, strict=True)
            ])
            for tensor in TENSORS
        }  # fmt: skip

    def _rows(self, layer: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Weights and biases of one layer's queries, keys and values."""
        parameters = dict(self.model.named_parameters())
        if self.name == "gpt_neox":  # per head: query, key, value
            prefix = f"gpt_neox.layers.{layer}.attention.query_key_value"
            weight, bias = parameters[f"{prefix}.weight"], parameters[f"{prefix}.bias"]
            each = torch.arange(len(weight)).view(4, 3, -1)
            return {t: (weight[each[:, i].flatten()], bias[each[:, i].flatten()]) for i, t in enumerate(TENSORS)}
        prefix = f"model.layers.{layer}.self_attn"
        if self.name == "phi3":  # 4 query heads, 2 keys, 2 values of 8 channels
            parts = parameters[f"{prefix}.qkv_proj.weight"].split([32, 16, 16])
            return {t: (part, part.new_zeros(len(part))) for t, part in zip(TENSORS, parts, strict=True)}
        weights = {t: parameters[f"{prefix}.{t[0]}_proj.weight"] for t in TENSORS}
        biases = {t: parameters.get(f"{prefix}.{t[0]}_proj.bias") for t in TENSORS}
        return {t: (w, w.new_zeros(len(w)) if (b := biases[t]) is None else b) for t, w in weights.items()}

    def contributions(self) -> tuple[Tensor, Tensor]:
        """What attention and MLP add: the stream between them less the stream before, and the stream after less that.

        In parallel blocks attention adds what W_O and its bias give, the MLP the rest.
        """
        before, after = self["stream"][:-1], self["stream"][1:]
        if self.name != "gpt_neox":
            return self["middle"] - before, after - self["middle"]
        weights = self.output_weights().flatten(2)
        biases = torch.stack([layer.attention.dense.bias for layer in self.model.gpt_neox.layers])
        attention = torch.einsum("lbtc,ldc->lbtd", self["heads"], weights) + biases[:, None, None]
        return attention, after - before - attention


@contextmanager
def _plain(exact: Exact):
    """Attention of float64 scores, softmax in float64: softmax(cap(scaling q k^T) + mask) v."""

    def attend(module, query, key, value, mask, *, scaling, softcap=None, **_options):
        groups = query.shape[1] // key.shape[1]
        scores = scaling * query @ key.repeat_interleave(groups, 1).mT
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        visible = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril() if mask is None else mask == 0
        scores = scores.masked_fill(~visible, -torch.inf)
        weights = scores.softmax(-1)
        exact.keep(query=query, key=key, value=value, scores=scores, weights=weights)
        return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2), weights

    AttentionInterface.register("plain_float64", attend)
    AttentionMaskInterface.register("plain_float64", eager_mask)
    with tiny_models.implementation(exact.model, "plain_float64"):
        yield


@cache
def exact_of(name: str, made: Callable[[str], PreTrainedModel] = tiny_models.of) -> Exact:
    return Exact(name, made)


@cache
def observed_of(name: str, made: Callable[[str], PreTrainedModel] = tiny_models.of) -> xr.Dataset:
    ids, model = exact_of(name, made).ids, made(name)
    everything = [phenomenon_of(model.config) if p is rotary_frequency else p for p in EVERYTHING]
    return observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=everything)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def agree(data: xr.DataArray, exact: Tensor, *dims: str, rtol: float = 1e-4) -> None:
    """Numbers agree to 1e-4, absolutely where they are small; `exact` has the dimensions `dims`."""
    expected = xr.DataArray(exact.detach().numpy(), dims=dims)
    given = data.transpose(*dims)
    np.testing.assert_allclose(given.values, expected.values, rtol=rtol, atol=1e-4)


HEADS = ("layer", "text", "head")


def test_plain_attention_against_the_models_own_eager_attention(name: str) -> None:
    exact = exact_of(name)
    eager = tiny_models.eager_attention(exact.model, exact.ids)
    torch.testing.assert_close(exact["weights"], eager.double(), atol=1e-5, rtol=0)
    windows = {"mistral", "qwen2", "gemma2", "gemma3"}
    assert bool((exact["weights"][..., -1, 0] == 0).any()) is (name in windows)  # a window shorter than the text


def test_sinks_and_entropy_against_float64(name: str) -> None:
    data, weights = observed_of(name), exact_of(name)["weights"]
    for length in (SINK_LENGTH, TOKENS):
        for start, convention in enumerate(("with_first_query", "without_first_query")):
            score = data["sink_score"].sel(length=length, convention=convention, drop=True)
            agree(score, weights[..., start:length, 0].mean(-1), *HEADS)
    entropy = tiny_models.rows_entropy(weights)[..., 1:]
    agree(data["attention_entropy"], entropy.mean(-1), *HEADS)
    agree(data["attention_entropy_normalised"], (entropy / (T[1:] + 1.0).double().log()).mean(-1), *HEADS)


def test_local_mass_and_decay_against_float64(name: str) -> None:
    data, weights = observed_of(name), exact_of(name)["weights"]
    distance = T[:, None] - T
    near = (distance >= 1) & (distance <= 5) & (T >= 1)
    agree(data["local_mass"], (weights * near).sum(-1)[..., 1:].mean(-1), *HEADS)
    for delta in (0, 1, 7, 20, 49):
        pairs = weights.diagonal(-delta, -2, -1)[..., 1:]  # without key 0
        pooled = data["distance_mass"].sel(distance=delta).squeeze("selected_on", drop=True)
        agree(pooled, pairs.mean(-1).mean(1), "layer", "head")


def test_norms_and_massive_counts_at_both_sites_against_float64(name: str) -> None:
    data, exact = observed_of(name, standing_out), exact_of(name, standing_out)
    sites = {"attended": {t: exact[t] for t in TENSORS}, "projected": exact.projected()}
    for site, tensors in sites.items():
        for tensor, heads in tensors.items():
            norms = heads.norm(dim=-2)
            which = "head" if tensor == "query" else "kv_head"
            pooled = data[f"{tensor}_norm"].sel(site=site, drop=True).squeeze("selected_on", drop=True)
            agree(pooled, norms.square().mean(1).sqrt(), "layer", which, "dim")
            for mean_over, axes in (("layer", (-2, -1)), ("head", (-1,))):
                ratio = norms / norms.mean(axes, keepdim=True)
                counts = torch.stack([(ratio > threshold).sum((-2, -1)) for threshold in THRESHOLDS], -1)
                given = data["massive_count"].sel(tensor=tensor, site=site, mean_over=mean_over, drop=True)
                agree(given, counts, "layer", "text", "threshold")
                assert tensor == "value" or site == "projected" or counts.any()


def test_massive_channels_by_rotary_pair_and_half_against_float64(name: str) -> None:
    data, exact = observed_of(name, standing_out), exact_of(name, standing_out)
    turning = TURNING.get(name, 8)
    rotates = torch.tensor([name != "smollm3" or layer != 1 for layer in range(3)])[:, None, None, None]
    for tensor in ("query", "key"):
        norms = exact[tensor].norm(dim=-2)
        ratio = norms / norms.mean((-2, -1), keepdim=True)
        channels = torch.stack([(ratio > threshold).sum(-2) for threshold in THRESHOLDS], -1)[..., :turning, :]
        pairs = channels.unflatten(2, (2, -1)).sum(2) * rotates
        own = data.sel(tensor=tensor, drop=True)
        agree(own["rotary_count"].fillna(0), pairs[..., THRESHOLDS.index(5.0)], "layer", "text", "pair")
        for half, part in zip(("fast", "slow"), pairs.unflatten(2, (2, -1)).sum(3).unbind(2), strict=True):
            agree(own[f"rotary_{half}_count"], part, "layer", "text", "threshold")
            assert part[..., 0].any()


def test_lengths_spread_and_centred_keys_against_float64(name: str) -> None:
    data, exact = observed_of(name), exact_of(name)
    for site, tensors in {"attended": exact, "projected": exact.projected()}.items():
        for tensor in ("query", "key"):
            length = tensors[tensor].square().sum((2, 4)).sqrt().mean(-1)
            agree(data[f"{tensor}_length"].sel(site=site, drop=True), length, "layer", "text")
    scores, key = exact["scores"], exact["key"]
    visible = scores.isfinite()
    mean = scores.where(visible, 0).sum(-1, keepdim=True) / visible.sum(-1, keepdim=True)
    spread = ((scores - mean).square().where(visible, 0).sum(-1) / visible.sum(-1)).sqrt()
    agree(data["logit_spread"], spread[..., 1:].mean(-1), *HEADS)
    agree(data["key_head_norm"], key.norm(dim=-1).mean(-1), "layer", "text", "kv_head")
    centred = (key - key.mean(-2, keepdim=True)).norm(dim=-1).mean(-1)
    agree(data["key_centred_norm"], centred, "layer", "text", "kv_head")


def test_write_shares_against_float64_and_heads_rebuild_what_the_output_projection_is_given(name: str) -> None:
    data, exact = observed_of(name), exact_of(name)
    weights, value = exact["weights"], exact["value"]
    repeated = value.repeat_interleave(weights.shape[2] // value.shape[2], 2)
    given = (weights @ repeated).transpose(2, 3).flatten(3)
    torch.testing.assert_close(given, exact["heads"], atol=1e-9, rtol=1e-9)
    written = torch.einsum("lbhtj,lbhjc,ldhc->lbhtjd", weights[..., ::3, :], repeated, exact.output_weights())
    share = written[..., 0, :].norm(dim=-1) / written.sum(-2).norm(dim=-1)
    first = torch.einsum("lbhc,ldhc->lbhd", repeated[..., 0, :], exact.output_weights()).norm(dim=-1)
    read = weights[..., 0] * first[..., None]
    whole = torch.einsum("lbhtc,ldhc->lbhtd", weights @ repeated, exact.output_weights()).norm(dim=-1)
    torch.testing.assert_close((read / whole)[..., ::3], share, atol=1e-9, rtol=1e-6)
    agree(data["write_share"], (read / whole)[..., 1:].mean(-1), *HEADS)
    agree(data["write_score"], weights[..., 1:, 0].mean(-1) * repeated[..., 0, :].norm(dim=-1), *HEADS)
    norms = value.norm(dim=-1)
    agree(data["first_value_norm"], norms[..., 0], "layer", "text", "kv_head")
    agree(data["other_value_norm"], norms[..., 1:].mean(-1), "layer", "text", "kv_head")


def test_residual_stream_and_its_spectrum_against_float64(name: str) -> None:
    data, stream = observed_of(name), exact_of(name)["stream"]
    norms = stream.norm(dim=-1)
    agree(data["first_norm"], norms[..., 0], "depth", "text")
    agree(data["other_norm_mean"], norms[..., 1:].mean(-1), "depth", "text")
    agree(data["other_norm_median"], norms[..., 1:].quantile(0.5, -1), "depth", "text")
    for variable, tokens in (("entropy", stream), ("entropy_without_first", stream[:, :, 1:])):
        shares = torch.linalg.svdvals(tokens).square()
        shares = shares / shares.sum(-1, keepdim=True)
        agree(data[variable], torch.special.entr(shares).sum(-1), "depth", "text")
        if variable == "entropy":
            agree(data["anisotropy"], shares.amax(-1), "depth", "text")
    flat = stream.flatten(2)
    top = flat.abs().topk(3, -1).indices
    agree(data["activation_value"], flat.gather(-1, top), "depth", "text", "rank")
    agree(data["activation_token"], top // stream.shape[-1], "depth", "text", "rank")
    agree(data["activation_channel"], top % stream.shape[-1], "depth", "text", "rank")


def test_shares_of_attention_and_mlp_against_float64(name: str) -> None:
    data, exact = observed_of(name), exact_of(name)
    attention, mlp = exact.contributions()
    a, m, delta = attention.norm(dim=-1), mlp.norm(dim=-1), attention + mlp
    torch.testing.assert_close(delta, exact["stream"][1:] - exact["stream"][:-1])
    length = delta.square().sum(-1)
    expected = {
        "attention_share": a / (a + m), "attention_norm": a, "mlp_norm": m,
        "attention_projection": (attention * delta).sum(-1) / length, "mlp_projection": (mlp * delta).sum(-1) / length,
    }  # fmt: skip
    for variable, values in expected.items():
        classes = data[variable]
        agree(classes.sel(token_class="first", drop=True), values[..., 0], "layer", "text")
        ordinary = values[..., 1:].quantile(0.5, -1)  # no token of these models is massive
        agree(classes.sel(token_class="ordinary", drop=True), ordinary, "layer", "text")
    assert (data["massive_activation_count"] == 0).all()
    agree(data["attention_share_of_means"], a.mean(-1) / (a.mean(-1) + m.mean(-1)), "layer", "text")


def test_losses_against_float64(name: str) -> None:
    data, exact = observed_of(name), exact_of(name)
    nats = -exact.logits.log_softmax(-1)[:, :-1].gather(-1, exact.ids[:, 1:, None]).squeeze(-1)
    agree(data["nats_mean"], nats.mean(-1), "text")
