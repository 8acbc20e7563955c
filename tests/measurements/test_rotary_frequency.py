import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.axes import MASSIVE_THRESHOLD, THRESHOLDS
from dropeact.measurements import massive_values, rotary_frequency
from dropeact.measurements.observe import observe
from dropeact.measurements.overlap import cosine, gini, jaccard, massive, spearman
from dropeact.measurements.rotary_frequency import by_rotary_pair, labelled
from dropeact.probes.probing import Seen
from tests import tiny_models


def norms(planted: list[tuple[int, int, int]], *, layers: int = 2) -> xr.DataArray:
    matrix = np.ones((layers, 4, 16))
    for place in planted:
        matrix[place] = 50.0
    return xr.DataArray(matrix, dims=("layer", "head", "dim"), coords={"layer": range(layers), "dim": range(16)})


def test_planted_channels_are_counted_in_their_pair_against_hand_count() -> None:
    planted = norms([(0, 0, 7), (0, 1, 15), (0, 3, 0), (1, 2, 9)])
    counts = by_rotary_pair(planted)
    assert counts.dims == ("layer", "pair")
    assert counts.sel(layer=0).values.tolist() == [1, 0, 0, 0, 0, 0, 0, 2]
    assert counts.sel(layer=1).values.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert by_rotary_pair(norms([])).sum() == 0


def test_massive_channels_of_each_layer_are_compared_with_their_own_layer() -> None:
    planted = norms([(0, 0, 7)])
    planted[1] *= 1000
    assert massive(planted).sum() == 1


def test_overlap_of_planted_channels_against_hand_count() -> None:
    one, other = norms([(0, 0, 7), (0, 1, 3)]), norms([(0, 0, 7), (0, 2, 5), (1, 0, 0)])
    shared = jaccard(one, other)
    assert shared.values.tolist() == pytest.approx([1 / 3, 0])
    assert jaccard(norms([]), norms([])).isnull().all()
    assert jaccard(one, one).sel(layer=0) == 1


def test_cosine_and_rank_correlation_against_hand_count() -> None:
    one = xr.DataArray([[[1.0, 2.0, 3.0, 4.0]]], dims=("layer", "head", "dim"))
    np.testing.assert_allclose(spearman(one, one**3), 1)
    np.testing.assert_allclose(spearman(one, -one), -1)
    np.testing.assert_allclose(cosine(one, 7 * one), 1)
    np.testing.assert_allclose(cosine(one, one[..., ::-1]), 20 / 30)


def test_gini_against_theory() -> None:
    def of(values: list[float]) -> float:
        return gini(xr.DataArray([[values]], dims=("layer", "head", "dim"))).item()

    assert of([3.0] * 7) == pytest.approx(0)
    assert of([0.0] * 9 + [5.0]) == pytest.approx(0.9)  # 1 - 1/n
    assert of([1.0, 3.0]) == pytest.approx(0.25)
    large = xr.DataArray(np.full((1, 32, 128), 3e4, np.float16), dims=("layer", "head", "dim"))
    assert gini(large).item() == pytest.approx(0, abs=1e-9)  # a sum in half precision overflows


def test_counts_per_text_and_tensor_against_the_norms_of_each_text() -> None:
    query = norms([(0, 0, 7), (1, 3, 0)]).expand_dims(text=2, axis=1)
    key = norms([(1, 1, 15)]).isel(head=slice(0, 2)).expand_dims(text=2, axis=1)
    seen = Seen()
    for layer in range(2):
        tensors = {"query-attended": query.values[layer], "key-attended": key.values[layer]}
        seen.keep(layer, {name: torch.from_numpy(values.copy()) for name, values in tensors.items()})
    counts = labelled(seen)["rotary_count"]
    assert counts.dims == ("text", "layer", "tensor", "pair")
    for text in range(2):
        expected = by_rotary_pair(norms([(0, 0, 7), (1, 3, 0)]))
        assert counts.isel(text=text).sel(tensor="query").values.tolist() == expected.values.tolist()
        assert counts.isel(text=text, layer=1).sel(tensor="key").values.tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


def test_either_half_of_the_pairs_at_every_lambda_against_hand_count() -> None:
    query = torch.full((1, 4, 16), 0.675)  # 60 x 0.675 + 3.25 + 4.75 + 8.25 + 7.25 = 64: the mean is 1
    query[0, 0, 7], query[0, 1, 9], query[0, 2, 4], query[0, 3, 11] = 3.25, 4.75, 8.25, 7.25  # pairs 7, 1, 4 and 3 of 8
    seen = Seen()
    seen.keep(0, {"query-attended": query, "key-attended": torch.ones(1, 2, 16)})
    counts = labelled(seen)
    at = np.array(THRESHOLDS)
    for half, planted in (("slow", (3.25, 8.25)), ("fast", (4.75, 7.25))):
        found = counts[f"rotary_{half}_count"]
        assert (found.dims, found.dtype) == (("text", "layer", "tensor", "threshold"), np.int16)
        assert found["threshold"].values.tolist() == list(THRESHOLDS)
        expected = np.greater.outer(planted, at).sum(0)
        assert found.sel(tensor="query").values.tolist() == [[expected.tolist()]]
        assert not found.sel(tensor="key").any()
    assert counts["rotary_count"].sel(tensor="query").values.tolist() == [[[0, 0, 0, 1, 1, 0, 0, 0]]]


def test_both_halves_hold_every_massive_value_of_a_model_at_every_lambda() -> None:
    model = tiny_models.standing_out("llama")
    phenomena = (massive_values, rotary_frequency)
    data = observe(model, tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"], phenomena=phenomena)
    data = data.sel(tensor=["query", "key"])
    together = data["rotary_slow_count"] + data["rotary_fast_count"]
    every = data["massive_count"].sel(site="attended", mean_over="layer", drop=True)
    np.testing.assert_array_equal(together.transpose(*every.dims), every)
    assert 0 < every.sel(threshold=7.0).sum() < every.sel(threshold=3.0).sum()
    pairs = data["rotary_count"].sum("pair")
    np.testing.assert_array_equal(pairs, together.sel(threshold=MASSIVE_THRESHOLD).transpose(*pairs.dims))
