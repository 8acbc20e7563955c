from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dropeact.axes import InputError
from dropeact.checkpoints.convert import convert
from dropeact.checkpoints.dropping import dropped, restored
from dropeact.checkpoints.load import load
from tests import tiny_models
from tests.checkpoints import tiny

TOKENS = torch.randint(1, 320, (2, 20), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def folder(tmp_path):
    return str(tiny.saved(tmp_path / "model"))


def test_converted_checkpoint_restored_against_the_original(folder, tmp_path):
    converted = load(str(convert(folder, str(tmp_path / "drope"))))
    assert converted.identity["attention"] == "nope"
    logits = restored(converted.model)(TOKENS).logits
    torch.testing.assert_close(logits, tiny.llama()(TOKENS).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"qk_norm": "qk"}, {"smollm3": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_stored_precision_is_kept_bit_for_bit(tmp_path, dtype, options):
    model: Any = tiny.llama()
    source = tiny.saved(tmp_path / "model", model.to(dtype))
    written = load_file(convert(str(source), str(tmp_path / "drope"), **options) / "model.safetensors")
    for name, weight in load_file(source / "model.safetensors").items():
        assert written[name].dtype == dtype
        assert torch.equal(written[name], weight)
    assert {weight.dtype for weight in written.values()} == {dtype}


def test_weights_of_several_precisions_are_written_in_the_one_that_holds_them_all(tmp_path):
    model: Any = tiny.llama()
    model.to(torch.bfloat16)
    model.model.norm.weight.data = torch.full((32,), 1 + 2**-20)
    source = tiny.saved(tmp_path / "model", model)
    written = load_file(convert(str(source), str(tmp_path / "drope")) / "model.safetensors")
    assert (written["model.norm.weight"] == 1 + 2**-20).all()


def test_qk_norm_weights_start_at_one(folder, tmp_path):
    converted = load(str(convert(folder, str(tmp_path / "drope"), qk_norm="qk")))
    norms = [weight for name, weight in converted.model.named_parameters() if "q_norm" in name or "k_norm" in name]
    assert len(norms) == 4
    assert all((norm == 1).all() for norm in norms)


@pytest.mark.parametrize("kind", ["rope", "nope"])
def test_smollm3_export_against_the_dropped_model(folder, tmp_path, kind):
    source = folder if kind == "rope" else str(convert(folder, str(tmp_path / "drope")))
    exported = convert(source, str(tmp_path / "smollm3"), smollm3=True)
    loaded = AutoModelForCausalLM.from_pretrained(exported)
    assert type(loaded).__module__ == "transformers.models.smollm3.modeling_smollm3"
    torch.testing.assert_close(loaded(TOKENS).logits, dropped(tiny.llama())(TOKENS).logits, atol=1e-5, rtol=0)
    assert not load(str(exported)).identity["rope"]


@pytest.mark.parametrize("smollm3", [False, True])
@pytest.mark.parametrize("kind", ["mistral", "qwen2"])
def test_architectures_that_are_not_converted_are_refused_by_name(tmp_path, kind, smollm3):
    tiny_models.of(kind).save_pretrained(tmp_path / "other")
    tiny.tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match=f"{kind}.*; only llama is converted"):
        convert(str(tmp_path / "other"), str(tmp_path / "drope"), smollm3=smollm3)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_unusable_requests_write_nothing(folder, tmp_path):
    converted = str(convert(folder, str(tmp_path / "drope"), qk_norm="q"))
    target = str(tmp_path / "other")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for arguments, message in [
        ((folder, converted), "expected a destination that does not exist"),
        ((folder, str(tmp_path / "dangling")), "expected a destination that does not exist"),
        ((converted, target), "expected a Llama with rotation to convert"),
        ((folder, target, "v"), "expected --qk-norm among q, k, qk"),
        ((folder, target, "q", True), "SmolLM3 has no QK-norm"),
        ((converted, target, None, True), "expected plain attention for SmolLM3"),
        ((str(tmp_path / "none"), target), "which does not exist"),
    ]:
        with pytest.raises(InputError, match=message):
            convert(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "drope", "model"]
