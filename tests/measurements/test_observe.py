from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import MambaConfig, MambaForCausalLM

from dropeact.axes import InputError
from dropeact.measurements import observe as module
from dropeact.measurements import phenomena
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.observe import observe
from dropeact.measurements.request import Request
from dropeact.pairs import Pair
from dropeact.store import Store
from tests import tiny_models

DIMS = {
    "massive_count": ("text", "layer", "tensor", "site", "mean_over", "threshold"),
    "query_norm": ("selected_on", "site", "layer", "head", "dim"),
    "key_norm": ("selected_on", "site", "layer", "kv_head", "dim"),
    "value_norm": ("selected_on", "site", "layer", "kv_head", "dim"),
    "sink_score": ("text", "layer", "head", "length", "convention"),
    "attention_entropy": ("text", "layer", "head"),
    "attention_entropy_normalised": ("text", "layer", "head"),
    "first_norm": ("text", "depth"),
    "other_norm_mean": ("text", "depth"),
    "other_norm_median": ("text", "depth"),
    "entropy": ("text", "depth"),
    "entropy_without_first": ("text", "depth"),
    "anisotropy": ("text", "depth"),
    "nats": ("text", "position_bin"),
    "nats_mean": ("text",),
}


def observed(kind: str = "gqa-rope", texts: int = 5) -> xr.Dataset:
    ids = [f"text-{i}" for i in range(texts)]
    return observe(tiny_models.llama(kind), tiny_models.tokens(texts, 70), ids=ids, halves=["B"] * texts)


def test_variables_have_the_dimensions_that_the_store_expects() -> None:
    dataset = observed()
    assert {name: dataset[name].dims for name in DIMS} == DIMS
    assert dataset.sizes == {
        "text": 5, "layer": 3, "tensor": 3, "site": 2, "mean_over": 2, "threshold": 15, "head": 4, "length": 2,
        "convention": 2, "depth": 4, "position_bin": 1, "kv_head": 2, "dim": 8, "selected_on": 1,
    }  # fmt: skip
    assert dataset["text"].values.tolist() == [f"text-{i}" for i in range(5)]
    assert dataset["half"].values.tolist() == ["B"] * 5
    assert dataset["selected_on"].values.tolist() == ["B"]
    assert dataset["massive_count"].dtype == np.int16
    assert dataset.attrs["rank_bound"] == 32
    assert all(np.isfinite(dataset[name]).all() for name in DIMS)


def test_values_have_the_same_norms_at_both_sites() -> None:
    dataset = observed()
    attended, projected = (dataset["value_norm"].sel(site=site, drop=True) for site in ("attended", "projected"))
    xr.testing.assert_allclose(attended, projected, rtol=1e-6)


def test_batches_of_one_and_of_four_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    four = observed()
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 1)
    xr.testing.assert_allclose(four, observed(), rtol=1e-4, atol=1e-5)


def test_observing_leaves_gradients_hooks_and_implementation_alone() -> None:
    model = tiny_models.llama()
    model.requires_grad_(True)
    dataset = observe(model, tiny_models.tokens(2), ids=["a", "b"], halves=["A", "A"])
    assert dataset["nats"].notnull().all()
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


def test_architecture_without_attention_is_refused_by_name() -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(InputError, match="got mamba"):
        observe(model, tiny_models.tokens(1, 8), ids=["a"], halves=["A"])


def test_a_cell_of_another_arm_is_read_from_texts_that_begin_so(monkeypatch, tmp_path):
    """The prepended token comes first, the rest moves on by one, and only the first texts of the half are read."""
    read = []

    def observed(model, tokens, *, ids, halves, **_options):
        read.append((tokens, ids, halves))
        return xr.Dataset({"query_norm": (("selected_on", "kv_head", "dim"), np.zeros((1, 1, 1))), "nats": 1.0})

    embeddings = torch.nn.Embedding(100, 2)
    model = SimpleNamespace(device="cpu", get_input_embeddings=lambda: embeddings)
    checkpoint = SimpleNamespace(model=model, tokenizer=_Characters())
    pair = Pair(name="p", rope="r", drope="d", other_arms=("bos",))
    measuring = Measuring(Request(pair), Store(tmp_path))
    monkeypatch.setattr(Measuring, "checkpoint", lambda *_: checkpoint)
    monkeypatch.setattr(Measuring, "identities", {"rope": {"architecture": "llama"}})
    monkeypatch.setattr(phenomena.observe, "observe", observed)
    assert measuring.request.other_arms == ("bos",)
    task = phenomena.observations_in("bos", measuring, "rope", "B")
    assert set(task.measure().data_vars) == {"nats"}  # norms pooled over so few texts are not kept
    (tokens, ids, halves), (plain, names) = read[0], measuring.tokens("rope", "passages", "B", 512)
    assert task.cell.arm == "bos"
    assert (list(ids), set(halves)) == (names[:8], {"B"})
    assert tokens[:, 0].tolist() == [90] * 8
    assert torch.equal(tokens[:, 1:], plain[:8, :-1])


class _Characters:
    """A tokenizer that gives every character a number below 89."""

    bos_token_id, eos_token_id = 90, 91

    def __call__(self, text, **_options):
        return {"input_ids": [ord(character) % 89 for character in text]}
