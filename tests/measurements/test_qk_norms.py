import numpy as np
import pytest
import torch

from dropeact.measurements import qk_norms
from dropeact.measurements.observe import observe
from dropeact.measurements.qk_norms import lengths, logit_spread
from dropeact.probes.probing import Readings, probing
from dropeact.probes.rows import softmax
from tests import tiny_models
from tests.tiny_models import weight


def observed(model, ids):
    return observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=(qk_norms,))


def test_lengths_against_hand_count() -> None:
    heads = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]], [[0.0, 4.0], [0.0, 0.0]]]])  # head, token, channel
    assert lengths(heads).tolist() == [3.0]  # (5 + 1) / 2


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_spread_and_centred_keys_agree_with_plain_float64(kind: str) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(2, 40)
    data = observed(model, ids)
    with probing(model.double(), Readings(attended=(lambda a: {"q": a.query, "k": a.key},))) as seen:
        model(ids, use_cache=False)
    query, key = seen["q"].transpose(0, 1), seen["k"].transpose(0, 1)  # text, layer, head, token, channel
    scores = query @ key.repeat_interleave(4 // key.shape[2], 2).mT * 8**-0.5
    spread = [scores[..., t, : t + 1].std(-1, correction=0) for t in range(1, 40)]
    np.testing.assert_allclose(data["logit_spread"], torch.stack(spread, -1).mean(-1), rtol=1e-4, atol=1e-4)
    centred = (key - key.mean(3, keepdim=True)).norm(dim=-1).mean(-1)
    np.testing.assert_allclose(data["key_centred_norm"], centred, rtol=1e-4)
    np.testing.assert_allclose(data["key_head_norm"], key.norm(dim=-1).mean(-1), rtol=1e-4)
    full = query.square().sum((2, 4)).sqrt().mean(-1)
    for site in ("attended", "projected"):  # a rotation keeps lengths, and there is no QK-norm
        np.testing.assert_allclose(data["query_length"].sel(site=site), full, rtol=1e-4)


def test_a_vector_common_to_all_keys_changes_their_norm_and_nothing_that_attention_sees() -> None:
    model, ids = tiny_models.llama("mha-nope", attention_bias=True), tiny_models.tokens(2, 40)
    before = observed(model, ids)
    logits = model(ids, use_cache=False).logits
    model.get_parameter("model.layers.1.self_attn.k_proj.bias").add_(50.0)
    after = observed(model, ids)
    torch.testing.assert_close(model(ids, use_cache=False).logits, logits, atol=1e-2, rtol=1e-2)
    for name in ("logit_spread", "key_centred_norm"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-2)
    assert (after["key_head_norm"] > 5 * before["key_head_norm"]).sel(layer=1).all()
    assert (after["key_length"] > 5 * before["key_length"]).sel(layer=1).all()


def test_sharper_queries_are_seen_as_spread() -> None:
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens(2, 40)
    before = observed(model, ids)["logit_spread"].sel(layer=0)
    weight(model, 0, "self_attn.q_proj").mul_(3)
    np.testing.assert_allclose(observed(model, ids)["logit_spread"].sel(layer=0), 3 * before, rtol=1e-4)


def test_masked_keys_take_no_part_in_the_spread_against_hand_count() -> None:
    lowest = torch.finfo().min
    rows = softmax(0, torch.tensor([[[[1.0, lowest, lowest], [1.0, 5.0, lowest], [0.0, 0.0, 3.0]]]]), None)
    assert logit_spread(rows)[0, 0].tolist() == pytest.approx([0, 2, 2**0.5])
