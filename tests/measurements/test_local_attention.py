import numpy as np
import pytest
import torch
import xarray as xr

from dropeact.measurements import attention, local_attention, uniform
from dropeact.measurements.head_classes import CLASSES, class_shares, head_classes
from dropeact.measurements.observe import observe
from dropeact.probes.probing import Seen
from dropeact.probes.rows import Rows
from tests import tiny_models
from tests.tiny_models import causal_uniform, eager_attention, weight


def by_loops(weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Local mass and decay of one head, [query, key], written down plainly."""
    tokens = len(weights)
    local = [sum(weights[t, j] for j in range(max(1, t - 5), t)) for t in range(1, tokens)]
    decay = np.full(50, np.nan)
    for delta in range(50):
        pairs = [weights[t, t - delta] for t in range(tokens) if t - delta >= 1]
        decay[delta] = np.mean(pairs) if pairs else np.nan
    return float(np.mean(local)), decay


@pytest.mark.parametrize("kind", ["gqa-rope", "mha-nope"])
@pytest.mark.parametrize("tokens", [20, 300])  # 300: queries in several blocks, the second of which begins late
def test_local_mass_and_decay_agree_with_eager_attention_in_float64(kind: str, tokens: int) -> None:
    model, ids = tiny_models.llama(kind), tiny_models.tokens(2, tokens)
    eager = eager_attention(model.double(), ids).transpose(0, 1).numpy()
    observed = observe(model.float(), ids, ids=["a", "b"], halves=["A", "A"], phenomena=(attention, local_attention))
    expected = [[[by_loops(head) for head in layer] for layer in text] for text in eager]
    local = np.array([[[head[0] for head in layer] for layer in text] for text in expected])
    decay = np.array([[[head[1] for head in layer] for layer in text] for text in expected]).mean(0)
    np.testing.assert_allclose(observed["local_mass"], local, atol=1e-4)
    assert observed["distance_mass"].dims == ("selected_on", "layer", "head", "distance")
    np.testing.assert_allclose(observed["distance_mass"][0], decay, atol=1e-4)


@pytest.mark.parametrize("tokens", [7, 22, 256])
def test_uniform_attention_is_measured_as_the_reference_says(tokens: int) -> None:
    weights = causal_uniform(tokens)[None, None]
    sums = weights.sum(-1)
    seen = Seen()
    seen.keep(0, local_attention.read_rows(Rows(0, weights.log(), weights, sums, sums)))
    measured = local_attention.labelled(seen)
    assert measured["local_mass"].item() == pytest.approx(uniform.local_mass(tokens), rel=1e-5)


def test_short_texts_look_local_under_uniform_attention() -> None:
    # with 22 tokens, as in the study, no preference at all already scores above its threshold of 0.3
    assert uniform.local_mass(22) > 0.3
    assert uniform.local_mass(512) < 0.06


def test_planted_heads_get_their_classes_against_construction() -> None:
    model = tiny_models.llama("mha-nope", layers=1, gain=1.0, hidden_size=64, head_dim=16)
    for name in ("self_attn.q_proj", "self_attn.k_proj"):
        weight(model, 0, name).zero_()
    # head 0 asks for the first token; heads 1-3 have no preference. Distances cannot be planted without positions.
    embeddings = model.get_parameter("model.embed_tokens.weight")
    embeddings[:, :2] = torch.tensor([0.0, 3.0])
    embeddings[0, :2] = torch.tensor([30.0, 3.0])
    weight(model, 0, "self_attn.k_proj")[0, 0] = 20
    weight(model, 0, "self_attn.q_proj")[0, 1] = 20
    ids = tiny_models.tokens(2, 60).clamp(min=1)
    ids[:, 0] = 0
    observed = observe(model, ids, ids=["a", "b"], halves=["A", "A"], phenomena=(attention, local_attention))
    classes = head_classes(observed)
    assert classes.values[0, 0] == "sink"
    assert "sink" not in classes.values[0, 1:]


def by_head(*values: float) -> tuple[tuple[str, ...], np.ndarray]:
    """A number for each head of one layer, in one text."""
    return ("text", "layer", "head"), np.array([[values]])


def test_classes_against_hand_count() -> None:
    sink = np.array([0.3, 0.29, 0.29, 0.29]).reshape(1, 1, 4, 1, 1)
    observed = xr.Dataset(
        {
            "sink_score": (("text", "layer", "head", "length", "convention"), sink),
            "local_mass": by_head(0.5, 0.3, 0.1, 0.1),
            "attention_entropy": by_head(0.1, 0.2, 3.0, 0.2),
        },
        coords={"length": [512], "convention": ["without_first_query"], "layer": [0]},
    )
    classes = head_classes(observed)
    assert classes.values.tolist() == [["sink", "local", "distributed", "mixed"]]
    assert class_shares(classes).values.tolist() == [[0.25] * len(CLASSES)]


def test_distributed_heads_lie_above_the_median_of_skewed_entropies_against_hand_count() -> None:
    observed = xr.Dataset(
        {
            "sink_score": (("text", "layer", "head", "length", "convention"), np.zeros((1, 1, 4, 1, 1))),
            "local_mass": by_head(0.0, 0.0, 0.0, 0.0),
            "attention_entropy": by_head(0.1, 0.2, 0.4, 5.0),  # median 0.3, mean 1.425
        },
        coords={"length": [512], "convention": ["without_first_query"], "layer": [0]},
    )
    assert head_classes(observed).values.tolist() == [["mixed", "mixed", "distributed", "distributed"]]
