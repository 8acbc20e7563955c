"""Every variable of what a pass shows is over the dimensions that the vocabulary names, against a table by hand."""

import numpy as np
import pytest

from dropeact.measurements import attention, massive_activations, residual, write_share
from dropeact.measurements.observe import observe
from tests import tiny_models

STREAM, HEADS, KV_HEADS = ("text", "depth"), ("text", "layer", "head"), ("text", "layer", "kv_head")
RANKED = ("text", "depth", "rank")
DIMENSIONS = {
    **dict.fromkeys(("first_norm", "other_norm_mean", "other_norm_median"), STREAM),
    **dict.fromkeys(("entropy", "entropy_without_first", "anisotropy"), STREAM),
    **dict.fromkeys(("activation_median", "massive_activation_count"), STREAM),
    **dict.fromkeys(("massive_activation_channels", "massive_activation_tokens"), STREAM),
    **dict.fromkeys(("activation_value", "activation_token", "activation_channel"), RANKED),
    **dict.fromkeys(("write_share", "write_score"), HEADS),
    **dict.fromkeys(("first_value_norm", "other_value_norm"), KV_HEADS),
}
SIZES = {"text": 5, "layer": 3, "depth": 4, "head": 4, "kv_head": 2, "rank": 3}
COUNTED = ("massive_activation_count", "massive_activation_channels", "massive_activation_tokens")
PLACES = ("activation_token", "activation_channel")


@pytest.fixture(scope="module")
def seen():
    model, ids = tiny_models.llama("gqa-rope"), tiny_models.tokens(5, 40)
    phenomena = (attention, residual, massive_activations, write_share)
    return observe(model, ids, ids=list("abcde"), halves=["A"] * 5, phenomena=phenomena)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_variable_has_the_dimensions_of_the_vocabulary_against_the_table(seen, name):
    assert seen[name].dims == DIMENSIONS[name]
    assert dict(seen[name].sizes) == {dim: SIZES[dim] for dim in DIMENSIONS[name]}


def test_numbers_are_stored_in_single_precision_and_counts_and_places_as_small_integers(seen):
    whole = {name: seen[name].dtype for name in (*COUNTED, *PLACES)}
    assert whole == dict.fromkeys(whole, np.dtype("int32"))
    others = {name: seen[name].dtype for name in DIMENSIONS if name not in whole}
    assert others == dict.fromkeys(others, np.dtype("float32"))
    assert seen["rank"].values.tolist() == [1, 2, 3]
