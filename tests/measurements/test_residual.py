import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dropeact.axes import HALVES
from dropeact.measured import Model, Protocol
from dropeact.measurements.observe import observe
from dropeact.measurements.residual import anisotropy, read_stream, representation_entropy
from dropeact.measurements.spectra import spectra
from dropeact.store import Cell, Store
from tests import tiny_models

SHAPES = [(12, 40), (40, 12), (20, 20)]


def random_tokens(tokens: int, hidden: int, seed: int = 0) -> Tensor:
    return torch.randn(2, tokens, hidden, generator=torch.Generator().manual_seed(seed))


def by_svd(tokens: Tensor) -> tuple[float, float]:
    """Entropy and anisotropy of one matrix from its singular values in float64, written down plainly."""
    shares = torch.linalg.svdvals(tokens.double()) ** 2
    shares = shares / shares.sum()
    return float(-(shares * shares.log()).sum()), float(shares.max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", [1.0, 300.0])
def test_entropy_with_and_without_first_token_against_singular_values(shape: tuple[int, int], first: float) -> None:
    tokens = random_tokens(*shape)
    tokens[:, 0] *= first
    read = read_stream(tokens)
    for text in range(2):
        entropy, largest = by_svd(tokens[text])
        assert read["entropy"][text].item() == pytest.approx(entropy, abs=1e-6)
        assert read["anisotropy"][text].item() == pytest.approx(largest, abs=1e-6)
        assert read["entropy_without_first"][text].item() == pytest.approx(by_svd(tokens[text, 1:])[0], abs=1e-6)


def test_norms_against_hand_count() -> None:
    tokens = torch.tensor([[[3.0, 4.0], [0.0, 1.0], [2.0, 0.0], [0.0, -6.0]]])
    read = read_stream(tokens)
    assert read["first_norm"].tolist() == [5.0]
    assert read["other_norm_mean"].tolist() == [3.0]
    assert read["other_norm_median"].tolist() == [2.0]


def test_orthonormal_tokens_have_the_largest_entropy_and_equal_tokens_none_against_definition() -> None:
    orthonormal = torch.linalg.qr(random_tokens(30, 30)[0]).Q[None, :16]
    equal = torch.ones(1, 16, 30)
    assert read_stream(orthonormal)["entropy"].item() == pytest.approx(math.log(16), abs=1e-6)
    assert read_stream(orthonormal)["anisotropy"].item() == pytest.approx(1 / 16, abs=1e-6)
    assert read_stream(equal)["entropy"].item() == pytest.approx(0, abs=1e-6)
    assert read_stream(equal)["anisotropy"].item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first", [1.0, 5.0, 100.0])
def test_spectrum_keeps_within_the_bounds_of_a_large_first_token_against_theory(seed: int, first: float) -> None:
    # Queipo-de-Llano et al. (2025), arXiv:2510.06477: bounds on the spectrum of a matrix with one large row
    tokens = random_tokens(20, 30, seed)[:1].double()
    tokens[:, 0] *= first
    values = spectra(tokens)[0][0]
    x0, others = tokens[0, 0], tokens[0, 1:]
    mass, rest = x0.square().sum(), others.square().sum()
    cosine = (others @ x0) / (others.norm(dim=-1) * x0.norm())
    alignment = (others.square().sum(-1) * cosine.square()).sum() / rest
    ratio = mass / rest
    share = (ratio + alignment) / (ratio + 1)
    slack = 1 - 1e-12
    assert values.max() >= (mass + alignment * rest) * slack
    assert values.max() / (values.sum() - values.max()) >= (ratio + alignment) / (1 - alignment) * slack
    assert anisotropy(values) >= share * slack
    bound = torch.special.entr(share) + torch.special.entr(1 - share) + (1 - share) * math.log(20 - 1)
    assert representation_entropy(values) <= bound / slack


def test_entropy_is_invariant_under_rotation_and_scale() -> None:
    tokens = random_tokens(12, 20)
    rotation = torch.linalg.qr(random_tokens(20, 20, 1)[0]).Q
    for changed in (tokens @ rotation, 1e3 * tokens):
        torch.testing.assert_close(read_stream(changed)["entropy"], read_stream(tokens)["entropy"])


def test_a_value_that_is_not_finite_gives_nan_for_its_text_alone() -> None:
    tokens = random_tokens(12, 20)
    tokens[1, 3, 4] = torch.inf
    read = read_stream(tokens)
    for name in ("entropy", "entropy_without_first", "anisotropy"):
        assert np.isnan(read[name].tolist()).tolist() == [False, True]


def test_entropy_as_a_share_of_its_largest_value_is_stored_with_its_bound_against_hand_count(tmp_path) -> None:
    """Twelve tokens of width 32 have at most 12 directions: the share is H / ln 12, whatever the store read back."""
    store, tokens = Store(tmp_path), tiny_models.tokens(2, 12)
    for half in HALVES:
        seen = observe(tiny_models.llama(), tokens, ids=[half, half * 2], halves=[half] * 2)
        store.save(Cell("rope", "passages", "first", half, "observations"), seen, {})
    model = Model("rope", Protocol(), store)
    np.testing.assert_allclose(model.entropy_share, model.observations["entropy"] / math.log(12))
    assert float(model.entropy_share.max()) <= 1
