from typing import Any

import numpy as np
import pytest
import torch

from dropeact.measurements import massive_values, rotary_frequency
from dropeact.measurements.observe import observe
from dropeact.measurements.partial_rotation import labelled, phenomenon_of, rotating_channels, rotating_layers
from dropeact.probes.probing import Readings, Seen, probing
from tests import tiny_models

PARTIAL = {"phi3": (4, [True] * 3), "gpt_neox": (4, [True] * 3), "smollm3": (8, [True, False, True])}


@pytest.mark.parametrize("name", tiny_models.ARCHITECTURES)
def test_what_rotates_against_the_channels_that_the_model_turns(name: str) -> None:
    """In a text of one token again and again, the stream is constant, and only a rotation tells positions apart."""
    model: Any = tiny_models.of(name).double()
    channels, layers = PARTIAL.get(name, (8, [True] * 3))
    assert (rotating_channels(model.config), list(rotating_layers(model.config))) == (channels, layers)
    assert (phenomenon_of(model.config) is rotary_frequency) is (name not in PARTIAL)
    with probing(model, Readings(attended=(lambda a: {"key": a.key},))) as seen:
        model(torch.full((1, 40), 5), use_cache=False)
    turned = (seen["key"] - seen["key"][..., :1, :]).abs().amax((1, 2, 3)) > 1e-6
    assert turned.any(1).tolist() == layers
    assert turned[0].tolist() == [True] * channels + [False] * (8 - channels)


def test_a_llama_turns_whole_heads_whatever_its_configuration_says() -> None:
    model = tiny_models.llama()
    model.config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    assert rotating_channels(model.config) == 8


def seen_of(query: torch.Tensor, key: torch.Tensor) -> Seen:
    seen = Seen()
    for layer in range(len(query)):
        seen.keep(layer, {"query-attended": query[layer], "key-attended": key[layer]})
    return seen


def test_planted_channels_are_counted_in_their_pair_or_beside_against_hand_count() -> None:
    query, key = torch.ones(2, 1, 4, 16), torch.ones(2, 1, 2, 16)
    query[0, 0, 1, 3] = query[0, 0, 2, 7] = query[0, 0, 0, 12] = 90.0  # pair 3 of 4, twice; a channel that stays
    key[1, 0, 0, 2] = 90.0
    data = labelled(seen_of(query, key), channels=8, layers=(True, False))
    assert data["rotary_count"].dims == ("text", "layer", "tensor", "pair")
    assert data["rotary_count"].sel(tensor="query", layer=0).values.tolist() == [[0, 0, 0, 2]]
    assert data["unrotated_count"].sel(tensor="query", layer=0).item() == 1
    assert data["rotary_count"].sel(tensor="key").isel(layer=1).isnull().all()
    assert data["unrotated_count"].sel(tensor="key").isel(layer=1).item() == 1
    slow, fast = (data[f"rotary_{half}_count"].sel(threshold=5.0) for half in ("slow", "fast"))
    assert (slow.dtype, slow.sel(tensor="query", layer=0).item(), int(slow.sum() + fast.sum())) == (np.int16, 2, 2)
    assert not data["rotary_slow_count"].isel(layer=1).any()  # no pair, however large the channel
    whole = rotary_frequency.labelled(seen_of(query, key))["rotary_count"]
    assert whole.sel(tensor="query").isel(layer=0).values.tolist() == [[0, 0, 0, 1, 1, 0, 0, 1]]  # pairs that are none


@pytest.mark.parametrize("name", PARTIAL)
def test_counts_of_a_model_add_up_to_its_massive_values(name: str) -> None:
    model = tiny_models.standing_out(name)
    phenomena = (massive_values, phenomenon_of(model.config))
    data = observe(model, tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"], phenomena=phenomena)
    counts = data["massive_count"].sel(site="attended", mean_over="layer", threshold=5.0, tensor=["query", "key"])
    pairs = data["rotary_count"].sel(tensor=["query", "key"]).sum("pair", skipna=True)
    total = (pairs + data["unrotated_count"].sel(tensor=["query", "key"])).transpose(*counts.dims)
    np.testing.assert_array_equal(total, counts)
    halves = (data["rotary_slow_count"] + data["rotary_fast_count"]).sel(tensor=["query", "key"])
    np.testing.assert_array_equal(halves.sel(threshold=5.0).transpose(*pairs.dims), pairs)
    assert all(values.sum() > 0 for values in (pairs, data["unrotated_count"]))
