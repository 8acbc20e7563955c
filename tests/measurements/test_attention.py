import pytest
import torch

from dropeact.measurements.attention import normalised, row_entropy, sink_scores
from dropeact.measurements.observe import observe
from dropeact.probes.rows import softmax
from tests import tiny_models
from tests.tiny_models import causal_uniform, eager_attention, harmonic, rows_entropy, weight


@pytest.mark.parametrize("length", [6, 9, 64])
def test_sink_scores_of_known_attention_against_definition(length: int) -> None:
    uniform = causal_uniform(length)[:, 0]
    to_first = torch.ones(length)
    to_itself = torch.eye(length)[:, 0]
    with_first = {"length": length, "with_first_query": True}
    assert sink_scores(uniform, **with_first).item() == pytest.approx(harmonic(length) / length)
    assert sink_scores(to_first, **with_first).item() == pytest.approx(1)
    assert sink_scores(to_itself, **with_first).item() == pytest.approx(1 / length)
    assert sink_scores(uniform, length=length).item() == pytest.approx((harmonic(length) - 1) / (length - 1))
    assert sink_scores(to_first, length=length).item() == pytest.approx(1)
    assert sink_scores(to_itself, length=length).item() == 0


def test_uniform_attention_is_a_sink_up_to_nine_tokens_against_definition() -> None:
    scores = [sink_scores(causal_uniform(n)[:, 0], length=n, with_first_query=True).item() for n in range(2, 12)]
    assert [score >= 0.3 for score in scores] == [n <= 9 for n in range(2, 12)]


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_row_entropy_agrees_with_plain_float64_entropy(scale: float) -> None:
    scores = scale * torch.randn(2, 3, 10, 20, generator=torch.Generator().manual_seed(0))
    weights = scores.double().softmax(-1)
    entropy = row_entropy(softmax(0, scores.clone(), None))
    torch.testing.assert_close(entropy, rows_entropy(weights).float(), atol=1e-5, rtol=1e-5)


def test_normalised_entropy_of_uniform_attention_is_one_against_definition() -> None:
    assert torch.allclose(normalised(rows_entropy(causal_uniform(30))).float(), torch.ones(29))
    assert torch.equal(normalised(torch.zeros(30)), torch.zeros(29))


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_labelled_statistics_agree_with_eager_attention(kind: str) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(3, 70)
    eager = eager_attention(model, ids).double().transpose(0, 1)
    observed = observe(model, ids, ids=list("abc"), halves=["A"] * 3)
    expected = {
        (length, convention): eager[..., first:length, 0].mean(-1)
        for length in (64, 70)
        for convention, first in (("without_first_query", 1), ("with_first_query", 0))
    }
    for (length, convention), score in expected.items():
        got = torch.tensor(observed["sink_score"].sel(length=length, convention=convention).values)
        torch.testing.assert_close(got, score.float(), atol=1e-4, rtol=0)
    entropy = rows_entropy(eager)[..., 1:]
    shares = entropy / torch.arange(2, 71).log()
    for name, exact in (("attention_entropy", entropy), ("attention_entropy_normalised", shares)):
        got = torch.tensor(observed[name].values)
        torch.testing.assert_close(got, exact.mean(-1).float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_planted_sinks_are_all_found_and_none_invented(kind: str) -> None:
    model = tiny_models.llama(kind, gain=1.0)
    planted = {(0, 1), (2, 0), (2, 3)}
    # token 0 alone points along channel 0; every token along channel 1; planted heads ask for the former
    embeddings = model.get_parameter("model.embed_tokens.weight")
    embeddings[:, :2] = torch.tensor([0.0, 3.0])
    embeddings[0, :2] = torch.tensor([30.0, 3.0])
    for layer in range(3):
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.down_proj"):
            weight(model, layer, name).zero_()
        weight(model, layer, "self_attn.k_proj")[7::8, 0] = 20  # channel 7: the slowest rotary pair, (3, 7)
    for layer, head in planted:
        weight(model, layer, "self_attn.q_proj")[head * 8 + 7, 1] = 20
    ids = tiny_models.tokens(4, 64).clamp(min=1)
    ids[:, 0] = 0
    scores = observe(model, ids, ids=list("abcd"), halves=["A"] * 4)["sink_score"].sel(length=64)
    for convention in scores["convention"].values:
        found = scores.sel(convention=convention).values >= 0.3
        for text in found:
            assert {(int(layer), int(head)) for layer, head in zip(*text.nonzero(), strict=True)} == planted
