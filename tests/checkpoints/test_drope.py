from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, Qwen2Config, Qwen2ForCausalLM

from dropeact.axes import InputError
from dropeact.checkpoints.drope import Qwen2DropeConfig, Qwen2DropeForCausalLM
from dropeact.checkpoints.dropping import dropped, restored, unrotated
from dropeact.checkpoints.source import ATTENTION_TYPES
from tests.checkpoints import tiny

TOKENS = torch.randint(1, 320, (2, 24), generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_restored_rotation_gives_the_logits_of_the_original_against_itself(kv_heads):
    original = tiny.llama(kv_heads=kv_heads)
    back = restored(dropped(original))
    torch.testing.assert_close(back(TOKENS).logits, original(TOKENS).logits, atol=1e-5, rtol=0)
    assert (dropped(original)(TOKENS).logits - original(TOKENS).logits).abs().max() > 1e-2


@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_logits_are_invariant_under_shifted_position_ids(attention_type):
    model: Any = dropped(tiny.llama(), attention_type=attention_type)
    positions = torch.arange(24)[None]
    shifted = model(TOKENS, position_ids=positions + 1000).logits
    torch.testing.assert_close(shifted, model(TOKENS, position_ids=positions).logits, atol=0, rtol=0)


@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_cached_generation_agrees_with_uncached_generation(attention_type):
    model: Any = dropped(tiny.llama(), attention_type=attention_type)
    written = [
        model.generate(TOKENS, max_new_tokens=12, do_sample=False, use_cache=cached, eos_token_id=None)
        for cached in (True, False)
    ]
    torch.testing.assert_close(written[0], written[1])
    halves = model(TOKENS[:, :10], use_cache=True)
    rest = model(TOKENS[:, 10:], past_key_values=halves.past_key_values).logits
    torch.testing.assert_close(rest, model(TOKENS).logits[:, 10:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_the_attention_fills_its_cache_by_either_of_transformers_names_for_it(name):
    model: Any = dropped(tiny.llama())
    held, hidden = DynamicCache(), torch.randn(1, 5, model.config.hidden_size)
    attention = model.model.layers[0].self_attn
    output, _ = attention(hidden, **{name: held})
    assert held.get_seq_length() == 5
    torch.testing.assert_close(output, attention(hidden)[0])


def test_left_padding_changes_no_logits():
    model: Any = dropped(tiny.llama())
    padded = torch.cat([torch.zeros(2, 5, dtype=torch.long), TOKENS], 1)
    mask = torch.cat([torch.zeros(2, 5, dtype=torch.long), torch.ones_like(TOKENS)], 1)
    logits = model(padded, attention_mask=mask).logits[:, 5:]
    torch.testing.assert_close(logits, model(TOKENS).logits, atol=1e-5, rtol=0)


def test_attention_without_rotation_against_a_llama_whose_angles_are_zero():
    original = tiny.llama()
    flat = original(TOKENS, position_ids=torch.zeros_like(TOKENS)).logits
    torch.testing.assert_close(dropped(original)(TOKENS).logits, flat, atol=1e-5, rtol=0)


def test_query_norm_spans_all_heads_against_hand_count():
    model: Any = dropped(tiny.llama(), attention_type="q_norm_nope")
    seen = []
    model.model.layers[0].self_attn.q_norm.register_forward_hook(
        lambda module, args, output: seen.append((args, output))
    )
    model(TOKENS)
    (projected,), normed = seen[0]
    by_hand = projected / (projected.square().mean(-1, keepdim=True) + model.config.rms_norm_eps).sqrt()
    assert projected.shape[-1] == 32
    torch.testing.assert_close(normed, by_hand, atol=1e-6, rtol=1e-5)


def test_softmax_scale_replaces_the_default_against_scaled_queries():
    original = tiny.llama()
    scaled = dropped(original, softmax_scale=2 * 8**-0.5)(TOKENS).logits
    doubled: Any = tiny.llama()
    for block in doubled.model.layers:
        block.self_attn.q_proj.weight.data *= 2
    torch.testing.assert_close(scaled, dropped(doubled)(TOKENS).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention_type", ["nope", "qk_norm_nope"])
def test_saved_and_loaded_by_plain_transformers_against_itself(tmp_path, attention_type):
    model: Any = dropped(tiny.llama(), attention_type=attention_type)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.attention_type == attention_type
    torch.testing.assert_close(loaded(TOKENS).logits, model(TOKENS).logits, atol=1e-6, rtol=0)


def test_weights_are_shared_not_copied():
    original: Any = tiny.llama()
    model: Any = dropped(original)
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert weight.data_ptr() == original.model.layers[0].self_attn.q_proj.weight.data_ptr()


def test_dropping_twice_is_refused():
    with pytest.raises(InputError, match="got model type llama_drope"):
        dropped(dropped(tiny.llama()))
    with pytest.raises(InputError, match="expected an attention type among nope"):
        dropped(tiny.llama(), attention_type="alibi")


def test_only_query_and_key_norms_start_at_one():
    model: Any = tiny.llama()
    del model.model.layers[1].mlp.up_proj
    with pytest.raises(
        InputError, match=r"expected the weights of a plain llama_drope; got none for .*1\.mlp\.up_proj"
    ):
        dropped(model)


def qwen2(*, seed=0):
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_()
    return model


@pytest.mark.parametrize("attention_type", ["nope", "qk_norm_nope", "q_norm_nope", "k_norm_nope"])
def test_published_qwen2_layout_loads_by_plain_transformers_against_the_unrotated_model(tmp_path, attention_type):
    source = qwen2()
    fields = source.config.to_dict() | {"model_type": "qwen2_drope", "attention_type": attention_type}
    config = Qwen2DropeConfig.from_dict(fields)
    made = Qwen2DropeForCausalLM(config).eval()
    made.load_state_dict(source.state_dict(), strict=attention_type == "nope")
    made.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(1, 30)[None]
    assert type(loaded) is Qwen2DropeForCausalLM
    torch.testing.assert_close(loaded(ids).logits, made(ids).logits)
    plain = unrotated(source)(ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.allclose(loaded(ids).logits, plain, atol=1e-4) is (attention_type == "nope")
    assert not torch.allclose(plain, source(ids).logits, atol=1e-2)
