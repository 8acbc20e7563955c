import numpy as np
import pytest
import torch

from dropeact.axes import SINK_THRESHOLD
from dropeact.checkpoints.dropping import dropped
from dropeact.measurements import contrasts
from dropeact.measurements.observe import observe
from tests import tiny_models
from tests.tiny_models import eager_attention, rows_entropy

TOKENS = tiny_models.tokens(3, 64)
IDS, HALVES = ["a", "b", "c"], ["A"] * 3


def measured(model):
    return contrasts.contrasts(model, TOKENS, ids=IDS, halves=HALVES, pad_id=5)


@pytest.mark.parametrize("kind", ["mha-rope", "gqa-rope", "mqa-nope"])
def test_attention_as_used_agrees_with_eager_attention_at_every_length(kind):
    model = tiny_models.llama(kind)
    eager = eager_attention(model, TOKENS).transpose(0, 1)
    seen = measured(model).sel(rebuilding="as used")
    for length in (6, 9, 64):
        scores = eager[..., 1:length, 0].mean(-1)
        assert ((scores - SINK_THRESHOLD).abs() > 1e-4).all(), "a score on the threshold would make the test flip"
        got = seen["sink_rate"].sel(length=length, convention="without_first_query").values
        np.testing.assert_allclose(got, (scores >= SINK_THRESHOLD).float().mean(-1))
    entropy = rows_entropy(eager)[..., 1:].mean((-2, -1))
    np.testing.assert_allclose(seen["rebuilt_entropy"], entropy, atol=1e-4)


def test_the_first_tokens_of_a_text_score_as_a_prompt_of_their_own_does():
    model = tiny_models.llama()
    alone = eager_attention(model, TOKENS[:, :7])[..., 0].mean(-1).transpose(0, 1)
    rate = measured(model)["sink_rate"].sel(length=7, convention="with_first_query", rebuilding="as used")
    np.testing.assert_allclose(rate, (alone >= SINK_THRESHOLD).float().mean(-1))


def test_attention_rebuilt_from_projections_is_that_of_the_dropped_model_in_its_first_layer():
    model = tiny_models.llama("gqa-rope")
    without = eager_attention(dropped(model), TOKENS)[0]
    seen = measured(model)["rebuilt_entropy"].isel(layer=0)
    expected = rows_entropy(without)[..., 1:].mean((-2, -1))
    np.testing.assert_allclose(seen.sel(rebuilding="without rotation"), expected, atol=1e-4)
    assert (abs(seen.sel(rebuilding="as used") - expected.numpy()) > 1e-3).all()


def test_without_rotation_in_the_model_both_ways_of_rebuilding_agree():
    seen = measured(tiny_models.llama("gqa-nope"))
    first, second = (seen.sel(rebuilding=name) for name in seen["rebuilding"].values)
    np.testing.assert_allclose(first["sink_rate"], second["sink_rate"], atol=1e-6)
    np.testing.assert_allclose(first["rebuilt_entropy"], second["rebuilt_entropy"], atol=1e-4)


def test_entropy_of_padded_rows_agrees_with_singular_values_of_hugging_face():
    model = tiny_models.llama()
    seen = measured(model)["padding_entropy"]
    plain = observe(model, TOKENS, ids=IDS, halves=HALVES)["entropy"]
    np.testing.assert_allclose(seen.sel(padding="unpadded"), plain, atol=1e-5)
    batch = contrasts.padding(TOKENS, pad_id=5, length=contrasts.PADDED_LENGTH)
    with torch.no_grad():
        hidden = model(**batch, output_hidden_states=True).hidden_states[1]
    squares = torch.linalg.svdvals(hidden.double()).square()
    expected = torch.special.entr(squares / squares.sum(-1, keepdim=True)).sum(-1)
    np.testing.assert_allclose(seen.sel(padding="padded", depth=1), expected, atol=1e-4)
    assert (abs(seen.sel(padding="padded") - plain).isel(depth=slice(1, None)) > 0.01).all()


def test_padding_changes_no_row_of_the_text():
    model = tiny_models.llama()
    batch = contrasts.padding(TOKENS, pad_id=5, length=80)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits[:, :64], model(TOKENS).logits, atol=1e-5, rtol=1e-4)


def test_repeated_sentences_are_read_as_any_text_is():
    model = tiny_models.llama()
    seen, plain = (
        contrasts.repeated(model, TOKENS, ids=IDS, halves=HALVES),
        observe(model, TOKENS, ids=IDS, halves=HALVES),
    )
    np.testing.assert_allclose(seen["nats_mean"], plain["nats_mean"], rtol=1e-6)  # fused attention rounds otherwise
    counts = plain["massive_count"].sel(mean_over="layer", threshold=5.0).sum("layer")
    np.testing.assert_array_equal(seen["massive_count"], counts)
    assert seen["massive_count"].dims == ("text", "tensor", "site")
