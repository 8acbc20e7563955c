import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.measurements.massive_values import massive_counts, norms, pooled
from dropeact.measurements.observe import observe
from tests import tiny_models


def test_norms_against_hand_count() -> None:
    heads = torch.tensor([[[[3.0, 0.0], [4.0, -2.0]]]])
    assert norms(heads).tolist() == [[[5.0, 2.0]]]


def test_norms_of_half_precision_do_not_overflow() -> None:
    assert norms(torch.full((1, 1, 512, 1), 6e4, dtype=torch.float16)).item() == pytest.approx(6e4 * 512**0.5, rel=1e-2)


@pytest.mark.parametrize(
    ("mean_over", "threshold", "expected"),
    [
        ("layer", 5.0, 1),  # mean = (7 + 40 + 8 * 9) / 16 = 7.4375, 5 mean = 37.2: the 40 alone
        ("layer", 1.2, 9),  # 1.2 mean = 8.925: the 40 and the eight nines
        ("head", 5.0, 1),  # first head: mean = 47 / 8 = 5.875, 5 mean = 29.4: the 40; second head: none above its mean
        ("head", 6.9, 0),  # 6.9 * 5.875 = 40.5
        ("layer", 5.5, 0),  # 5.5 * 7.4375 = 40.9
    ],
)
def test_massive_counts_against_hand_count(mean_over, threshold: float, expected: int) -> None:
    matrix = torch.tensor([[40.0] + [1.0] * 7, [9.0] * 8])
    assert massive_counts(matrix, mean_over=mean_over, threshold=threshold).item() == expected


def test_a_norm_equal_to_the_threshold_is_not_massive_against_definition() -> None:
    matrix = torch.tensor([[5.0, 1.0], [1.0, 1.0]])  # mean = 2
    assert massive_counts(matrix, threshold=2.5).item() == 0
    assert massive_counts(matrix, threshold=2.49).item() == 1


def test_counts_are_invariant_under_the_scale_of_a_layer() -> None:
    matrices = torch.rand(5, 4, 16) ** 8
    assert torch.equal(massive_counts(matrices), massive_counts(1e4 * matrices))


@pytest.mark.parametrize("heads", tiny_models.HEADS)
def test_planted_massive_dimensions_are_all_found_and_none_invented(heads: str) -> None:
    model = tiny_models.llama(f"{heads}-nope", gain=1.0)
    planted = {("query", 0, 3, 2), ("query", 1, 0, 7), ("key", 1, 0, 1), ("value", 2, 0, 4), ("query", 1, 2, 2)}
    for tensor, layer, head, dim in planted:
        tiny_models.weight(model, layer, f"self_attn.{tensor[0]}_proj")[head * 8 + dim] *= 100
    observed = observe(model, tiny_models.tokens(4, 60), ids=list("abcd"), halves=["A"] * 4)
    for site in ("attended", "projected"):
        found = {
            (tensor, *map(int, place))
            for tensor in ("query", "key", "value")
            for place in np.argwhere(_massive(observed[f"{tensor}_norm"].sel(selected_on="A", site=site)))
        }
        assert found == planted
    counts = observed["massive_count"].sel(threshold=5.0, mean_over="layer")
    expected = {("query", 0): 1, ("query", 1): 2, ("key", 1): 1, ("value", 2): 1}
    for tensor in ("query", "key", "value"):
        for layer in range(3):
            assert (counts.sel(tensor=tensor, layer=layer) == expected.get((tensor, layer), 0)).all()


def _massive(matrix: xr.DataArray) -> np.ndarray:
    return (matrix > 5 * matrix.mean(matrix.dims[1:])).values


def test_rotation_spreads_a_planted_dimension_over_its_pair_so_that_sites_differ() -> None:
    model = tiny_models.llama("mha-rope", gain=1.0)
    tiny_models.weight(model, 1, "self_attn.q_proj")[0] *= 1000  # head 0, channel 0: the fastest rotary pair (0, 4)
    observed = observe(model, tiny_models.tokens(2, 60), ids=["a", "b"], halves=["A", "A"])
    projected, attended = (observed["query_norm"].sel(site=s, layer=1, head=0)[0] for s in ("projected", "attended"))
    assert projected[0] > 100 * projected[4]
    np.testing.assert_allclose(attended[0] ** 2 + attended[4] ** 2, projected[0] ** 2 + projected[4] ** 2, rtol=1e-4)
    np.testing.assert_allclose(attended[0] / attended[4], 1, atol=0.2)


def test_pooled_norms_against_hand_count() -> None:
    dims = ("text", "site", "layer", "head", "dim")
    norm = xr.DataArray(np.array([3.0, 4.0]).reshape(2, 1, 1, 1, 1), dims=dims)
    kv = norm.rename(head="kv_head")
    result = pooled(xr.Dataset({"query_norm": norm, "key_norm": kv, "value_norm": kv}), "B")
    assert result["query_norm"].dims == ("selected_on", *dims[1:])
    assert result["query_norm"].item() == pytest.approx(12.5**0.5)
    assert result["selected_on"].item() == "B"
