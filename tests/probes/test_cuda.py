"""The probe in the precisions of large models, rows read in blocks: on a GPU where torch sees one, else on the CPU."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dropeact.measurements import completions
from dropeact.measurements.attention import READINGS, row_entropy
from dropeact.measurements.massive_values import norms
from dropeact.measurements.residual import read_stream
from dropeact.probes import rows as reading
from dropeact.probes.attention import attending
from dropeact.probes.probing import probing
from dropeact.probes.rows import Attended, blocks
from tests import tiny_models
from tests.tiny_models import rows_entropy

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # before tests are kept from a GPU: see tests/conftest.py
pytestmark = pytest.mark.gpu
HALVES = (torch.bfloat16, torch.float16)
HALF_MAX = torch.finfo(torch.float16).max  # 65,504
WINDOW = 7


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """Of 16 queries, whatever processor is beside the GPU."""
    monkeypatch.setattr(reading, "SMALLEST_BLOCK", 16)
    monkeypatch.setattr(reading, "BLOCK_ELEMENTS", {})
    monkeypatch.setattr(reading, "BLOCK_ELEMENTS_ELSEWHERE", 2 * 4 * 40 * 16)


def drawn(dtype: torch.dtype, gain: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    query = gain * torch.randn(2, 4, 40, 16, generator=generator)
    key, value = (gain * torch.randn(2, 2, 40, 16, generator=generator) for _ in range(2))
    return query.to(DEVICE, dtype), key.to(DEVICE, dtype), value.to(DEVICE, dtype)


def masks() -> dict[str, tuple[Tensor | None, Tensor]]:
    """As transformers may hand a mask over, beside what may be seen."""
    positions = torch.arange(40, device=DEVICE)
    causal = positions[:, None] >= positions
    window = causal & (positions[:, None] - positions < WINDOW)
    numbers = torch.zeros(40, 40, device=DEVICE).masked_fill(~window, -math.inf)
    return {
        "none": (None, causal),
        "booleans": (window.expand(2, 1, -1, -1), window),
        "numbers": (numbers.expand(2, 1, -1, -1), window),
    }


def exact_weights(query: Tensor, key: Tensor, visible: Tensor) -> Tensor:
    scores = query.double() @ key.double().repeat_interleave(2, 1).mT * query.shape[-1] ** -0.5
    return scores.masked_fill(~visible, -math.inf).softmax(-1)


def read(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """First-key weight, entropy and output of several blocks of rows."""
    attended = Attended(nn.Module(), query, key, value, 16**-0.5)
    found = [(block.first_key, row_entropy(block), values) for block, values in blocks(attended, mask, {})]
    assert len(found) > 1
    mass, entropy, output = (torch.cat(parts, 2).double() for parts in zip(*found, strict=True))
    return mass, entropy, output


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("mask", ["none", "booleans", "numbers"])
def test_rows_and_output_agree_with_float64_attention(mask, dtype):
    query, key, value = drawn(dtype)
    given, visible = masks()[mask]
    exact = exact_weights(query, key, visible)
    mass, entropy, output = read(query, key, value, given)
    torch.testing.assert_close(mass, exact[..., 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(entropy, rows_entropy(exact), atol=1e-3, rtol=0)
    expected = exact @ value.double().repeat_interleave(2, 1)
    torch.testing.assert_close(output, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("mask", ["none", "booleans", "numbers"])
def test_scores_beyond_half_precision_agree_with_float64_attention(mask, dtype):
    query, key, value = drawn(dtype, gain=100.0)
    products = query.double() @ key.double().repeat_interleave(2, 1).mT
    assert products.abs().amax((-1, -2)).min() > HALF_MAX  # in every head: float16 would give inf, and then NaN
    given, visible = masks()[mask]
    exact = exact_weights(query, key, visible)
    mass, entropy, output = read(query, key, value, given)
    # scores up to 5e4 are spaced by 0.004 in float32: a weight p is off by p (1 - p) times that
    torch.testing.assert_close(mass, exact[..., 0], atol=5e-3, rtol=0)
    torch.testing.assert_close(entropy, rows_entropy(exact), atol=2e-2, rtol=0)
    expected = exact @ value.double().repeat_interleave(2, 1)
    torch.testing.assert_close(output, expected, atol=5e-3 * 100, rtol=1e-3)


@pytest.mark.parametrize("dtype", HALVES)
def test_norms_beyond_half_precision_are_exact(dtype):
    heads = torch.full((1, 2, 4096, 8), 300.0, device=DEVICE, dtype=dtype)  # 4096 squares of 300: far above 65504
    torch.testing.assert_close(norms(heads), torch.full((1, 2, 8), 300.0 * 64, device=DEVICE), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_probed_model_gives_what_it_gives_in_float32_on_a_cpu(dtype):
    model, ids = tiny_models.llama(), tiny_models.tokens(2, 40)
    both = []
    for device, precision in (("cpu", torch.float32), (DEVICE, dtype)):
        model.to(torch.device(device), precision)  # pyright: ignore
        with probing(model, READINGS) as seen, torch.no_grad():
            model(ids.to(device), use_cache=False)
        both.append({name: seen[name].float() for name in ("first_key_mass", "row_entropy")})
    expected, found = both
    torch.testing.assert_close(found["first_key_mass"], expected["first_key_mass"], atol=0.02, rtol=0)
    torch.testing.assert_close(found["row_entropy"], expected["row_entropy"], atol=0.1, rtol=0)


def test_the_spectra_of_a_stream_are_those_on_a_cpu():
    hidden = torch.randn(4, 12, 20, generator=torch.Generator().manual_seed(0))
    found, expected = read_stream(hidden.to(DEVICE)), read_stream(hidden)
    for name, values in expected.items():
        torch.testing.assert_close(found[name].cpu(), values, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("kind", ["mha-rope", "gqa-rope"])
def test_padded_rows_beside_longer_ones_get_what_they_get_alone(kind, dtype, tolerance):
    """Padding attends to nothing: a kernel that makes NaN of it hands that on through the values of the next layer."""
    model: Any = tiny_models.llama(kind, gain=3.0)
    model.to(torch.device(DEVICE), dtype)
    texts = [[length, *tiny_models.tokens(1, length)[0].tolist()] for length in (3, 40, 17)]  # which share no beginning
    more = [[5], [6, 7, 8], [9, 10]]
    with attending(model), torch.no_grad():
        ((order, cached, last),) = completions.read(model, texts, at_once=3)
        later = cached.extend([more[index] for index in order])[:, -1]
    for index, *found in zip(order, last, later, strict=True):
        for ids, logits in zip((texts[index], texts[index] + more[index]), found, strict=True):
            alone = model(torch.tensor([ids], device=DEVICE), use_cache=False).logits[0, -1].float()
            torch.testing.assert_close(logits, alone, atol=tolerance, rtol=0)
