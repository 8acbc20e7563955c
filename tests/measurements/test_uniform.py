import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.measurements import uniform
from dropeact.measurements.attention import sink_scores
from tests.tiny_models import causal_uniform

BOTH = pytest.mark.parametrize("with_first_query", [True, False])


@BOTH
@pytest.mark.parametrize("tokens", [2, 6, 9, 64, 512])
def test_sink_score_against_uniform_attention(tokens, with_first_query):
    score = sink_scores(causal_uniform(tokens)[:, 0], length=tokens, with_first_query=with_first_query)
    assert uniform.sink_score(tokens, with_first_query=with_first_query) == pytest.approx(float(score))


@BOTH
@pytest.mark.parametrize("tokens", [2, 6, 64])
def test_excess_is_one_where_every_query_attends_to_the_first_key_and_zero_where_none_prefers_any(
    tokens, with_first_query
):
    def of(mass: torch.Tensor) -> float:
        score = float(sink_scores(mass, length=tokens, with_first_query=with_first_query))
        return uniform.excess(score, tokens, with_first_query=with_first_query)

    assert of(torch.ones(tokens)) == pytest.approx(1)
    assert of(causal_uniform(tokens)[:, 0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tokens", [2, 64, 512])
def test_excess_is_invariant_under_leaving_the_first_query_out(tokens):
    mass = torch.rand(tokens, generator=torch.manual_seed(tokens))
    mass[0] = 1  # the first query can only attend to itself
    with_it, without = (
        uniform.excess(float(sink_scores(mass, length=tokens, with_first_query=w)), tokens, with_first_query=w)
        for w in (True, False)
    )
    assert with_it == pytest.approx(without, abs=1e-5)


def test_excess_keeps_the_order_of_scores_and_their_labels():
    scores = xr.DataArray(np.linspace(0, 1, 11), dims="head", coords={"head": range(11)})
    moved = uniform.excess(scores, 64, with_first_query=False)
    assert moved.dims == ("head",)
    assert (moved.diff("head") > 0).all()
    assert float(moved[0]) < 0  # less than a head without any preference


def test_excess_against_hand_count():
    # two tokens: uniform scores (1 + 1/2) / 2 = 0.75 with the first query, 0.5 without
    assert uniform.excess(0.8, 2, with_first_query=True) == pytest.approx(0.2)
    assert uniform.excess(0.8, 2, with_first_query=False) == pytest.approx(0.6)


@pytest.mark.parametrize("distance", [0, 1, 5, 49])
def test_distance_mass_against_uniform_attention(distance):
    weights = causal_uniform(64).numpy()
    pairs = [weights[t, t - distance] for t in range(64) if t - distance >= 1]
    assert uniform.distance_mass(64, distance) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("tokens", [2, 64])
def test_attention_entropy_against_uniform_attention(tokens):
    entropies = torch.special.entr(causal_uniform(tokens)).sum(-1)[1:]
    assert uniform.attention_entropy(tokens) == pytest.approx(float(entropies.mean()))
