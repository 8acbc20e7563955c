import numpy as np
import pytest
import torch

from dropeact.measurements.loss_curve import loss_curve, windows
from tests.tiny_models import llama


def test_neighbours_are_joined_with_the_separator_between_against_hand_count():
    tokens = torch.arange(12).view(3, 4)
    joined, names = windows(tokens, ["a", "b", "c"], separator_id=99)
    assert joined.tolist() == [[0, 1, 2, 99, 4, 5, 6, 7]]
    assert names == ["a+b"]
    assert windows(tokens, ["a", "b", "c"], separator_id=None)[0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_loss_by_position_against_hugging_face():
    model = llama("gqa-rope")
    tokens = torch.randint(0, model.config.vocab_size, (3, 256), generator=torch.Generator().manual_seed(0))
    seen = loss_curve(model, tokens, ids=["a", "b", "c"], halves=["A"] * 3, separated=False)
    with torch.no_grad():
        expected = [float(model(row[None], labels=row[None]).loss) for row in tokens]
    np.testing.assert_allclose(seen["nats_mean"], expected, rtol=1e-5)
    assert seen["position_bin"].values.tolist() == [0, 128]


def test_a_second_texts_own_first_token_is_read_and_not_scored_against_hugging_face():
    model = llama("gqa-rope")
    tokens = torch.randint(0, model.config.vocab_size, (1, 256), generator=torch.Generator().manual_seed(0))
    for separated, unscored in ((True, [127, 128]), (False, [128])):
        seen = loss_curve(model, tokens, ids=["a"], halves=["A"], separated=separated, prefixed=True)
        labels = tokens.clone()
        labels[0, unscored] = -100
        with torch.no_grad():
            expected = float(model(tokens, labels=labels).loss)
        assert float(seen["nats_mean"][0]) == pytest.approx(expected, rel=1e-5)


def test_the_separator_is_read_and_not_scored_against_hugging_face():
    model = llama("gqa-rope")
    tokens = torch.randint(0, model.config.vocab_size, (1, 256), generator=torch.Generator().manual_seed(0))
    seen = loss_curve(model, tokens, ids=["a"], halves=["A"], separated=True)
    labels = tokens.clone()
    labels[0, 127] = -100  # where windows put the separator
    with torch.no_grad():
        expected = float(model(tokens, labels=labels).loss)
    assert float(seen["nats_mean"][0]) == pytest.approx(expected, rel=1e-5)
    assert seen["position_bin"].values.tolist() == [0, 128]
