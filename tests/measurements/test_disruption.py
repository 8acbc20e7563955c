import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.axes import InputError
from dropeact.measurements.disruption import CONDITIONS, HEADS, RANDOM, disrupt, drawn, equal_dose, masks
from dropeact.measurements.observe import observe
from dropeact.measurements.perplexity import token_nats
from tests import tiny_models

TEXTS = ["a", "b", "c"]


def norms_with(massive: dict[tuple[str, int], int], *, layers: int = 2, seed: int = 0) -> xr.Dataset:
    """Norms near 1 with so many of 20 in a (tensor, layer)."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for tensor, heads in (("query", 4), ("key", 2)):
        matrix = 1 + 0.1 * generator.random((layers, heads, 8))
        for layer in range(layers):
            count = massive.get((tensor, layer), 0)
            matrix[layer].reshape(-1)[generator.permutation(heads * 8)[:count]] = 20 + generator.random(count)
        arrays[f"{tensor}_norm"] = (("layer", "head" if tensor == "query" else "kv_head", "dim"), matrix)
    coords = {"layer": range(layers), "head": range(4), "kv_head": range(2), "dim": range(8)}
    return xr.Dataset(arrays, coords=coords)


def test_equal_dose_is_the_smaller_count_against_hand_count() -> None:
    one = norms_with({("query", 0): 3, ("query", 1): 1, ("key", 1): 2})
    other = norms_with({("query", 0): 2, ("query", 1): 4, ("key", 0): 1}, seed=1)
    dose = equal_dose(one, other)
    assert dose.dims == ("layer", "tensor")
    assert dose["tensor"].values.tolist() == ["query", "key"]
    assert dose.values.tolist() == [[2, 0], [1, 0]]


def test_massive_is_beside_the_mean_of_the_layer_against_hand_count() -> None:
    norms = norms_with({("query", 0): 3, ("query", 1): 2, ("key", 1): 1})
    scaled = norms.copy(deep=True)
    for tensor in HEADS:
        scaled[f"{tensor}_norm"][1] *= 100.0  # as layers of one model may differ: alike beside their own mean
    assert equal_dose(scaled, scaled).values.tolist() == [[3, 0], [2, 1]]
    assert equal_dose(norms, scaled).values.tolist() == [[3, 0], [2, 1]]


def test_models_of_different_depth_are_refused() -> None:
    with pytest.raises(InputError, match="got 2 and 3"):
        equal_dose(norms_with({}), norms_with({}, layers=3))


def made(seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    norms = norms_with({("query", 0): 3, ("query", 1): 2, ("key", 1): 1})
    return norms, masks(norms, equal_dose(norms, norms), seed=seed)


def test_massive_masks_are_the_largest_norms_against_hand_count() -> None:
    norms, chosen = made()
    assert chosen["condition"].values.tolist() == list(CONDITIONS)
    for tensor in ("query", "key"):
        massive = chosen[tensor].sel(condition="massive", drop=True)
        xr.testing.assert_equal(massive, norms[f"{tensor}_norm"] > 10)
        assert not chosen[tensor].sel(condition="baseline").any()


def test_top_k_is_taken_where_the_dose_is_smaller_than_the_count() -> None:
    norms = norms_with({("query", 0): 3})
    dose = equal_dose(norms, norms_with({("query", 0): 1}, seed=1))
    chosen = masks(norms, dose, seed=0)["query"].sel(condition="massive", layer=0)
    assert chosen.sum() == 1
    assert norms["query_norm"].sel(layer=0).where(chosen).max() == norms["query_norm"].sel(layer=0).max()


def test_random_controls_are_as_many_without_massive_and_differ() -> None:
    _, chosen = made()
    for tensor in ("query", "key"):
        axes = chosen[tensor].dims[2:]
        massive = chosen[tensor].sel(condition="massive")
        for name in RANDOM:
            control = chosen[tensor].sel(condition=name)
            assert (control.sum(axes) == massive.sum(axes)).all()
            assert not (control & massive).any()
    draws = [chosen["query"].sel(condition=name).values.tobytes() for name in RANDOM]
    assert len(set(draws)) == len(RANDOM)


def test_layers_of_the_same_norms_have_draws_of_their_own() -> None:
    norms = norms_with({("query", 0): 4})
    norms["query_norm"][1] = norms["query_norm"][0].values
    query = masks(norms, equal_dose(norms, norms), seed=0)["query"].sel(condition=list(RANDOM))
    assert (query.sum(["head", "dim"]) == 4).all()
    assert (query.sel(layer=0) != query.sel(layer=1)).any(["head", "dim"]).all()


def test_no_control_draws_a_massive_channel_beyond_the_dose() -> None:
    norms = norms_with({("query", 0): 2})
    dose = equal_dose(norms, norms_with({("query", 0): 1}, seed=1))
    massive = norms["query_norm"].sel(layer=0) > 10
    for seed in range(20):
        query = masks(norms, dose, seed=seed)["query"].sel(layer=0)
        assert query.sel(condition="massive").sum() == 1
        for name in (*RANDOM, "norm-matched"):
            assert not (query.sel(condition=name) & massive).any(), (seed, name)


def test_every_text_has_draws_of_its_own_whatever_texts_are_beside() -> None:
    norms, _ = made()
    dose = equal_dose(norms, norms)
    of_all, of_one = (drawn(norms, dose, texts, seed=0) for texts in (TEXTS, ["b"]))
    xr.testing.assert_identical(of_all.sel(text=["b"]), of_one)
    draws = {of_all["query"].sel(text=t, condition=c).values.tobytes() for t in TEXTS for c in RANDOM}
    assert len(draws) == len(TEXTS) * len(RANDOM)
    for name in ("baseline", "massive"):
        same = of_all["query"].sel(condition=name)
        assert (same == same.sel(text="a")).all()


def test_losses_of_drawn_masks_are_those_of_each_text_alone() -> None:
    model, ids = tiny_models.llama(layers=2), tiny_models.tokens(3, 30)
    norms, _ = made()
    chosen = drawn(norms, equal_dose(norms, norms), TEXTS, seed=0)
    together = disrupt(model, ids, chosen, ids=TEXTS, halves=["A"] * 3)
    for row, name in enumerate(TEXTS):
        alone = disrupt(model, ids[row : row + 1], chosen.sel(text=[name]), ids=[name], halves=["A"])
        np.testing.assert_allclose(together["nats"].sel(text=[name]), alone["nats"], atol=1e-5)
    for name in ("norm_matched_share", "norm_matched_count"):
        assert together[name].dims == ("text", "layer", "tensor")


def test_masks_are_reproduced_by_the_seed_and_only_controls_depend_on_it() -> None:
    first, again, other = (made(seed)[1] for seed in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert (first["query"] == other["query"]).sel(condition=["baseline", "massive"]).all()
    assert not (first["query"] == other["query"]).sel(condition=list(RANDOM)).all()


def test_norm_matched_control_reaches_the_massive_power_or_takes_all_against_hand_count() -> None:
    norms = norms_with({("query", 0): 1})
    norms["query_norm"][0] = 1.0
    norms["query_norm"][0, 0, 0] = 4.5  # 1 of 32 is massive: 4.5 > 5 (31 + 4.5) / 32 is false: planted by dose instead
    dose = equal_dose(norms, norms).copy(data=[[1, 0], [0, 0]])
    chosen = masks(norms, dose, seed=0)
    assert chosen["norm_matched_count"].sel(layer=0, tensor="query") == 21  # 20 x 1^2 < 4.5^2 = 20.25 <= 21 x 1^2
    assert chosen["norm_matched_share"].sel(layer=0, tensor="query").item() == pytest.approx(21 / 20.25)
    norms["query_norm"][0, 0, 0] = 100.0
    chosen = masks(norms, dose, seed=0)
    assert chosen["norm_matched_count"].sel(layer=0, tensor="query") == 31
    assert chosen["norm_matched_share"].sel(layer=0, tensor="query").item() == pytest.approx(31 / 100**2)
    matched = chosen["query"].sel(condition="norm-matched", layer=0)
    assert not (matched & chosen["query"].sel(condition="massive", layer=0)).any()
    nothing = chosen.sel(layer=1, tensor="query")
    assert (nothing["norm_matched_count"], nothing["norm_matched_share"]) == (0, 1)


def test_norm_matched_control_adds_up_squares_against_hand_count() -> None:
    matrix = np.full((1, 4, 16), 2.0)
    matrix[0, 0, 0] = 11.0  # massive: 11 > 5 (63 x 2 + 11) / 64 = 10.7
    norms = xr.Dataset({"query_norm": (("layer", "head", "dim"), matrix)}).assign_coords(layer=[0])
    norms["key_norm"] = (("layer", "kv_head", "dim"), np.ones((1, 2, 16)))
    dose = equal_dose(norms, norms)
    assert dose.values.tolist() == [[1, 0]]
    chosen = masks(norms, dose, seed=0).sel(layer=0, tensor="query")
    assert chosen["norm_matched_count"] == 31  # 30 x 2^2 < 11^2 = 121 <= 31 x 2^2
    assert chosen["norm_matched_share"].item() == pytest.approx(124 / 121)
    assert chosen["query"].sel(condition="norm-matched").sum() == 31


def disrupted(model, chosen: xr.Dataset, ids: torch.Tensor) -> xr.Dataset:
    each = chosen.assign({tensor: chosen[tensor].expand_dims(text=TEXTS) for tensor in HEADS})
    return disrupt(model, ids, each, ids=TEXTS, halves=["A"] * 3)


def observed_norms(model, ids: torch.Tensor) -> xr.Dataset:
    dataset = observe(model, ids, ids=["a", "b", "c"], halves=["B"] * 3)
    return dataset[["query_norm", "key_norm"]].sel(selected_on="B", site="attended", drop=True)


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_zero_dose_equals_the_baseline_and_the_model_itself(kind: str) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(3, 30)
    norms = observed_norms(model, ids)
    dose = equal_dose(norms, norms).copy(data=np.zeros((3, 2), dtype=int))
    result = disrupted(model, masks(norms, dose, seed=0), ids)
    plain = token_nats(model(ids, use_cache=False).logits, ids).mean(-1)
    assert result["nats"].dims == ("text", "condition")
    np.testing.assert_allclose(result["nats"].values, plain[:, None].expand(3, len(CONDITIONS)), atol=1e-5)


def test_disruption_says_which_half_the_masks_came_from() -> None:
    model, ids = tiny_models.llama(layers=2), tiny_models.tokens(3, 30)
    _, chosen = made()
    result = disrupted(model, chosen, ids)
    assert result["half"].values.tolist() == ["A"] * 3
    assert result["dose"].dims == ("selected_on", "layer", "tensor")
    assert result["dose"]["selected_on"].values.tolist() == ["B"]


def test_conditions_in_one_batch_agree_with_conditions_one_by_one() -> None:
    model, ids = tiny_models.llama(layers=2), tiny_models.tokens(3, 30)
    _, chosen = made()
    together = disrupted(model, chosen, ids)["nats"]
    for name in CONDITIONS:
        alone = disrupted(model, chosen.sel(condition=[name]), ids)["nats"]
        np.testing.assert_allclose(together.sel(condition=[name]), alone, atol=1e-5)


def test_zeroing_every_channel_leaves_uniform_attention() -> None:
    model, ids = tiny_models.llama(layers=2), tiny_models.tokens(3, 30)
    everything = made()[1].sel(condition=["massive"]).copy(deep=True)
    everything["query"][:] = True
    everything["key"][:] = True
    result = disrupted(model, everything, ids)["nats"]
    for layer in range(2):
        tiny_models.weight(model, layer, "self_attn.q_proj").zero_()
    uniform = token_nats(model(ids, use_cache=False).logits, ids).mean(-1)
    np.testing.assert_allclose(result[:, 0], uniform, atol=1e-5)
