"""Every supported architecture, tiny and random: what the probe reads against the model's own eager code."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from dropeact.axes import InputError
from dropeact.checkpoints.dropping import unrotated
from dropeact.checkpoints.source import ATTENTION_TYPES, SUPPORTED
from dropeact.measurements.attention import READINGS
from dropeact.measurements.observe import EVERYTHING, observe
from dropeact.probes.architectures import KNOWN, architecture_of, blocks_of, head_dim
from dropeact.probes.probing import Readings, probing
from tests import tiny_models
from tests.tiny_models import eager_attention, rows_entropy

pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture(params=tiny_models.ARCHITECTURES)
def model(request: pytest.FixtureRequest):
    return tiny_models.of(request.param)


def test_sink_mass_and_entropy_against_eager_attention(model) -> None:
    ids = tiny_models.tokens()
    with probing(model, READINGS) as seen:
        model(ids, use_cache=False)
    eager = eager_attention(model, ids)
    torch.testing.assert_close(seen["first_key_mass"], eager[..., 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen["row_entropy"].double(), rows_entropy(eager), atol=1e-4, rtol=0)


def test_logits_with_the_probe_against_eager_logits(model) -> None:
    # not against SDPA: it knows no soft-capping
    ids = tiny_models.tokens()
    with tiny_models.implementation(model, "eager"):
        eager = model(ids, use_cache=False).logits
    with probing(model, READINGS):
        probed = model(ids, use_cache=False).logits
    torch.testing.assert_close(probed, eager, atol=1e-5, rtol=1e-4)


def test_what_a_block_adds_is_the_sum_of_its_contributions(model) -> None:
    def difference(added) -> dict[str, Tensor]:
        return {"left": added.after - added.before - added.attention - added.mlp, "size": added.after - added.before}

    with probing(model, Readings(added=(difference,))) as seen:
        model(tiny_models.tokens(), use_cache=False)
    assert seen["size"].abs().max() > 0.1
    torch.testing.assert_close(seen["left"], torch.zeros_like(seen["left"]), atol=1e-4, rtol=0)


def test_projected_heads_are_cut_where_the_model_cuts_them(model) -> None:
    """Values have neither norm nor rotation: what attention is given is what the projection gives, head by head."""
    readings = Readings(
        attended=(lambda a: {"value-attended": a.value},),
        projected=(lambda p: {f"{p.tensor}-projected": p.heads.transpose(1, 2)},),
    )
    with probing(model, readings) as seen:
        model(tiny_models.tokens(), use_cache=False)
    assert torch.equal(seen["value-attended"], seen["value-projected"])
    config = model.config
    kv_heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    assert seen["query-projected"].shape[2:] == (config.num_attention_heads, 40, head_dim(config))
    assert seen["key-projected"].shape[2:] == (kv_heads, 40, head_dim(config))


def test_queries_and_keys_as_attended_give_the_eager_scores(model) -> None:
    ids = tiny_models.tokens()
    with probing(model, Readings(attended=(lambda a: {"query": a.query * a.scaling, "key": a.key},))) as seen:
        model(ids, use_cache=False)
    query, key = seen["query"].double(), seen["key"].double()
    scores = query @ key.repeat_interleave(query.shape[2] // key.shape[2], 2).mT
    if cap := getattr(model.config, "attn_logit_softcapping", None):
        scores = cap * torch.tanh(scores / cap)
    eager = eager_attention(model, ids).double()
    visible = eager > 0
    rebuilt = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    torch.testing.assert_close(rebuilt, eager, atol=1e-4, rtol=0)


def test_every_phenomenon_is_finite_where_it_is_defined_and_has_the_models_shape(model) -> None:
    ids = tiny_models.tokens()
    seen = observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=EVERYTHING)
    assert seen.sizes["layer"] == len(blocks_of(model))
    assert seen.sizes["head"] == model.config.num_attention_heads
    for name in ("first_norm", "entropy", "query_norm", "write_score", "nats_mean", "attention_share"):
        values = seen[name].sel(token_class="ordinary") if "token_class" in seen[name].dims else seen[name]
        assert np.isfinite(values.values).all(), name


def test_residual_stream_before_the_final_norm_against_hugging_face(model) -> None:
    ids = tiny_models.tokens()
    with probing(model, Readings(stream=(lambda hidden: {"hidden": hidden},))) as seen:
        model(ids, use_cache=False)
    with tiny_models.implementation(model, "eager"):
        states = torch.stack(model(ids, use_cache=False, output_hidden_states=True).hidden_states)
    torch.testing.assert_close(seen["hidden"][:-1], states[:-1], atol=1e-4, rtol=1e-4)
    norm = model.gpt_neox.final_layer_norm if model.config.model_type == "gpt_neox" else model.model.norm
    torch.testing.assert_close(norm(seen["hidden"][-1]), states[-1], atol=1e-4, rtol=1e-4)


def test_without_rotation_positions_change_nothing_and_weights_are_shared(model) -> None:
    ids = tiny_models.tokens()
    positions = torch.arange(40)[None]
    mask = torch.ones_like(ids)  # without it, positions with gaps would be taken for several packed texts
    still = unrotated(model)

    def logits(given, factor: int) -> Tensor:
        return given(ids, attention_mask=mask, position_ids=positions * factor, use_cache=False).logits

    assert not torch.allclose(logits(model, 1), logits(model, 3), atol=1e-3)
    torch.testing.assert_close(logits(still, 1), logits(still, 3), atol=1e-5, rtol=1e-4)
    assert next(model.parameters()).data_ptr() == next(still.parameters()).data_ptr()


def test_an_architecture_that_cannot_be_probed_is_refused_by_name() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=11))
    with pytest.raises(InputError, match="got gpt2; choose another checkpoint"):
        architecture_of(model)


def test_what_can_be_loaded_can_be_probed() -> None:
    assert set(SUPPORTED) == set(KNOWN)


def test_a_fused_projection_is_cut_by_the_counts_of_heads_against_hand_count() -> None:
    fused = architecture_of(tiny_models.of("phi3")).projections
    named = dict(fused.heads("qkv_proj", torch.arange((4 + 2 + 2) * 8.0).view(1, 1, -1), 8))
    assert {name: tuple(heads.shape) for name, heads in named.items()} == {
        "query": (1, 1, 4, 8), "key": (1, 1, 2, 8), "value": (1, 1, 2, 8),
    }  # fmt: skip
    assert named["key"][0, 0, 0, 0] == 4 * 8
    assert named["value"][0, 0, 1, 7] == 8 * 8 - 1


@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_published_drope_layouts_are_probed_against_eager_attention(name: str, attention_type: str) -> None:
    """Attended are the projections, normed over the full width where the type says so; the scale is the config's."""
    source, ids = tiny_models.of(name), tiny_models.tokens()
    fields = source.config.to_dict() | {"model_type": f"{name}_drope", "use_sliding_window": False, "layer_types": None}
    config = AutoConfig.for_model(**fields, attention_type=attention_type, softmax_scale=0.7)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model.load_state_dict(source.state_dict(), strict=attention_type == "nope")
    for parameter_name, parameter in model.named_parameters():
        if "q_norm" in parameter_name or "k_norm" in parameter_name:
            parameter.add_(0.3 * torch.randn(parameter.shape))
    heads = Readings(
        attended=(lambda a: {"query": a.query, "key": a.key, "scaling": torch.tensor(a.scaling)},),
        projected=(lambda p: {f"{p.tensor}-projected": p.heads},),
    )
    with probing(model, heads + READINGS) as seen:
        model(ids, use_cache=False)
    eager = eager_attention(model, ids)
    torch.testing.assert_close(seen["first_key_mass"], eager[..., 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen["row_entropy"].double(), rows_entropy(eager), atol=1e-4, rtol=0)
    assert seen["scaling"].tolist() == pytest.approx([0.7] * 3)
    for tensor, normed in (("query", attention_type[0] == "q"), ("key", attention_type[:2] in ("qk", "k_"))):
        flat = seen[f"{tensor}-projected"].flatten(-2)  # layer, text, token, width
        if normed:
            size = (flat.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()
            attentions = [block.attention for block in blocks_of(model)]
            gains = torch.stack([attention.get_parameter(f"{tensor[0]}_norm.weight") for attention in attentions])
            flat = flat / size * gains[:, None, None]
        given = seen[tensor].transpose(2, 3).flatten(-2)
        torch.testing.assert_close(given, flat, atol=1e-4, rtol=1e-4)
