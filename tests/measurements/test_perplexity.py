import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from dropeact.measurements import perplexity
from dropeact.measurements.perplexity import labelled, rows_at_once, token_nats
from tests import tiny_models


def test_token_nats_agree_with_cross_entropy() -> None:
    model, ids = tiny_models.llama(), tiny_models.tokens(3, 20)
    logits = model(ids, use_cache=False).logits
    expected = functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    torch.testing.assert_close(token_nats(logits, ids), expected, atol=1e-5, rtol=1e-5)
    loss = model(ids, labels=ids, use_cache=False).loss
    assert token_nats(logits, ids).mean().item() == pytest.approx(loss.item(), abs=1e-5)


def test_losses_a_few_rows_of_logits_at_a_time_agree_with_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, ids = torch.randn(2, 20, 97, generator=torch.Generator().manual_seed(0)), tiny_models.tokens(2, 20)
    expected = functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    for at_once in (1, 3 * 97, 7 * 97):  # one row, or blocks of which the last is shorter
        monkeypatch.setattr(perplexity, "LOGITS_AT_ONCE", at_once)
        torch.testing.assert_close(token_nats(logits, ids), expected, atol=1e-5, rtol=1e-5)


def test_uniform_logits_cost_the_log_of_the_vocabulary_against_theory() -> None:
    nats = token_nats(torch.zeros(1, 5, 97), torch.zeros(1, 5, dtype=torch.long))
    assert nats.tolist() == [pytest.approx([math.log(97)] * 4)]


def test_bins_are_of_target_positions_against_hand_count() -> None:
    nats = torch.arange(1.0, 300.0)[None]  # the loss of target t is t
    binned = labelled(nats)
    assert binned["position_bin"].values.tolist() == [0, 128, 256]
    expected = [np.arange(1, 128).mean(), np.arange(128, 256).mean(), np.arange(256, 300).mean()]
    np.testing.assert_allclose(binned["nats"].values[0], expected)
    assert binned["nats_mean"].item() == pytest.approx(150)


def test_rows_at_once_keep_the_logits_below_the_limit_against_hand_count() -> None:
    model = tiny_models.llama()  # 4 bytes x 10 tokens x 97 logits = 3880 bytes a text
    assert rows_at_once(model, 10, most=4, limit=2 * 3880) == 2
    assert rows_at_once(model, 10, most=4, limit=10**9) == 4
    assert rows_at_once(model, 10, most=4, limit=1) == 1
