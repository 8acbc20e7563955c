"""Linear layers by oneDNN, against torch's own products and against float64."""

import pytest
import torch
from torch import nn

from dropeact.checkpoints import products
from dropeact.checkpoints.load import drop, load
from dropeact.checkpoints.products import OneDnnLinear, by_onednn
from tests.checkpoints import tiny

pytestmark = pytest.mark.skipif(not products.IS_THERE, reason="no AVX-512 here, or a torch without oneDNN's product")


@pytest.fixture
def taken(monkeypatch):
    """The shapes that oneDNN multiplied."""
    shapes, by_torch = [], products.ONEDNN

    def product(input, *others):
        shapes.append(tuple(input.shape))
        return by_torch(input, *others)

    monkeypatch.setattr(products, "ONEDNN", product)
    return shapes


def linear(*, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(96, 40, bias=bias, dtype=dtype).requires_grad_(False)
    by_onednn(layer)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (3, 5, 96), (2, 3, 4, 96)])
def test_products_against_float64(taken, bias, shape):
    layer, inputs = linear(bias=bias), torch.randn(shape)
    expected = inputs.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    torch.testing.assert_close(layer(inputs).double(), expected, rtol=1e-5, atol=1e-5)
    assert taken == [shape]


def test_inputs_that_do_not_lie_in_order_against_copies_that_do(taken):
    layer, inputs = linear(), torch.randn(96, 7, 5)
    strided = inputs.permute(2, 1, 0)[::2, 1:]
    torch.testing.assert_close(layer(strided), layer(strided.contiguous()), rtol=0, atol=0)
    assert len(taken) == 2


def test_a_row_alone_agrees_with_itself_among_others_up_to_rounding():
    layer, rows = linear(), torch.randn(64, 96)  # torch 2.9 and 2.11 sum in another order where rows are few
    torch.testing.assert_close(layer(rows)[:9], layer(rows[:9]), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_torch(taken):
    layer, inputs = linear(), torch.randn(4, 96, requires_grad=True)
    layer(inputs).sum().backward()
    torch.testing.assert_close(inputs.grad, layer.weight.sum(0).expand(4, -1))
    assert taken == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_multiplied_by_torch(taken, dtype):
    assert linear(dtype=dtype)(torch.randn(4, 96, dtype=dtype)).dtype == dtype
    assert taken == []


def test_weights_with_gaps_are_multiplied_by_torch(taken):
    layer, inputs = linear(bias=False), torch.randn(4, 96)
    layer.weight = nn.Parameter(torch.randn(40, 100)[:, :96], requires_grad=False)
    torch.testing.assert_close(layer(inputs), inputs @ layer.weight.T)
    assert taken == []


def test_no_rows_give_no_rows():
    assert linear()(torch.empty(0, 96)).shape == (0, 40)


def test_whoever_switches_onednn_off_gets_the_products_of_torch(taken, monkeypatch):
    layer, inputs = linear(), torch.randn(4, 96)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    torch.testing.assert_close(layer(inputs), nn.functional.linear(inputs, layer.weight, layer.bias))
    assert taken == []


def test_a_loaded_and_a_dropped_model_multiply_so_and_give_the_logits_of_torch(tmp_path, taken, monkeypatch):
    loaded = load(str(tiny.saved(tmp_path / "model")))
    models, tokens = (loaded.model, drop(loaded).model), torch.arange(1, 33)[None]
    layers = [[m for m in model.modules() if isinstance(m, nn.Linear)] for model in models]
    assert all(type(layer) is OneDnnLinear for both in layers for layer in both)
    logits = [model(tokens).logits for model in models]
    assert len(taken) == sum(map(len, layers))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    for model, by_onednn_ in zip(models, logits, strict=True):
        torch.testing.assert_close(by_onednn_, model(tokens).logits, rtol=1e-4, atol=1e-4)
