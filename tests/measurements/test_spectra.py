import numpy as np
import pytest
import torch
from torch import Tensor

from dropeact.measurements.spectra import spectra
from dropeact.measurements.tridiagonal import Tridiagonal, tridiagonal

SHAPES = [(1, 5), (2, 5), (12, 40), (20, 20), (21, 20), (40, 12), (2, 1)]


def tokens(count: int, hidden: int, *, first: float = 1.0, seed: int = 0) -> Tensor:
    drawn = torch.randn(3, count, hidden, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn[:, 0] *= first
    return drawn


def squares(text: Tensor, rank: int) -> Tensor:
    """Squared singular values, ascending, with the zeros that a Gram matrix of `rank` rows has."""
    values = torch.linalg.svdvals(text).square().flip(0)
    return torch.cat([values.new_zeros(rank - len(values)), values])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", [0.0, 1.0, 1e3])
def test_both_spectra_against_singular_values(shape: tuple[int, int], first: float) -> None:
    texts, hidden = tokens(*shape, first=first), shape[1]
    for text, *both in zip(texts, *spectra(texts), strict=True):
        ranks = [shape[0], shape[0] - 1] if shape[0] <= hidden else [hidden, hidden]  # of the smaller Gram matrix
        assert [len(values) for values in both] == ranks
        for values, some in zip(both, (text, text[1:]), strict=True):
            expected = squares(some, len(values))
            torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12 * float(expected.sum()))


@pytest.mark.parametrize("shape", [(30, 60), (60, 30)])
def test_a_first_token_a_million_times_as_long_leaves_the_other_spectrum_exact_against_singular_values(shape) -> None:
    """Taking x_0 x_0^T from the whole Gram matrix would leave errors of 1e12 times the rounding."""
    texts = tokens(*shape, first=1e6)
    for text, values in zip(texts, spectra(texts)[1], strict=True):
        torch.testing.assert_close(values, squares(text[1:], len(values)), rtol=1e-11, atol=1e-11)


def test_a_spectrum_does_not_depend_on_the_number_of_threads_or_on_the_texts_beside_it() -> None:
    texts, before = tokens(64, 48), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [spectra(text[None]) for text in texts]
        torch.set_num_threads(2)
        together = spectra(texts)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for index in (0, 1):
        assert torch.equal(torch.cat([one[index] for one in alone]), together[index])


@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
def test_a_value_that_is_not_finite_gives_nan_for_its_text_alone(shape: tuple[int, int]) -> None:
    texts = tokens(*shape)
    texts[1, 3, 4] = torch.inf
    for values in spectra(texts):
        assert values.isnan().all(-1).tolist() == [False, True, False]


@pytest.mark.parametrize("size", [1, 2, 3, 70])
def test_a_tridiagonal_matrix_keeps_the_first_basis_vector_against_numpy(size: int) -> None:
    drawn = np.random.default_rng(size).normal(size=(size, size))
    matrix = drawn + drawn.T
    before = matrix.copy()
    reduced = tridiagonal(matrix)
    assert np.array_equal(matrix, before)
    assert reduced.diagonal[0] == pytest.approx(matrix[0, 0], rel=1e-14)
    np.testing.assert_allclose(
        np.abs(reduced.beside[:1]), np.linalg.norm(matrix[1:, :1], axis=0)[: size - 1], rtol=1e-13
    )
    for part, whole in ((reduced, matrix), (reduced.without_first(), matrix[1:, 1:])):
        np.testing.assert_allclose(part.eigenvalues(), np.linalg.eigvalsh(whole), atol=1e-12 * size)


def test_a_matrix_in_single_precision_is_reduced_in_double_against_itself() -> None:
    drawn = np.random.default_rng(0).integers(-9, 9, (7, 7))
    matrix = (drawn + drawn.T).astype(np.float32)
    for part, expected in zip(tridiagonal(matrix), tridiagonal(matrix.astype(np.float64)), strict=True):
        assert part.dtype == np.float64
        np.testing.assert_array_equal(part, expected)


def test_eigenvalues_of_a_chain_against_theory() -> None:
    """2 on the diagonal and -1 beside it: 2 - 2 cos(pi k / (n + 1))."""
    size = 40
    chain = Tridiagonal(np.full(size, 2.0), np.full(size - 1, -1.0))
    expected = 2 - 2 * np.cos(np.pi * np.arange(1, size + 1) / (size + 1))
    np.testing.assert_allclose(chain.eigenvalues(), expected, atol=1e-14)


def test_eigenvalues_that_lapack_does_not_find_are_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="LAPACK gave status"):
        Tridiagonal(np.array([np.nan, 1.0, 2.0]), np.array([np.nan, 1.0])).eigenvalues()
