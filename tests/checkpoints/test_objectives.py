import pytest
import torch
from torch.nn import functional

from dropeact.checkpoints.objectives import CHUNK, cross_entropy, distillation

GENERATOR = torch.Generator().manual_seed(5)
COUNT = 2 * CHUNK + 17


@pytest.fixture
def states():
    shapes = {"hidden": (COUNT, 12), "head": (40, 12), "parent_hidden": (COUNT, 16), "parent_head": (40, 16)}
    drawn = {name: torch.randn(shape, generator=GENERATOR) for name, shape in shapes.items()}
    return {name: tensor.requires_grad_(not name.startswith("parent")) for name, tensor in drawn.items()}


def gradients(loss, states):
    return torch.autograd.grad(3 * loss, (states["hidden"], states["head"]))


def test_distillation_and_its_gradients_against_autograd(states):
    loss = distillation(**states)
    student = functional.log_softmax(states["hidden"] @ states["head"].T, -1)
    parent = functional.log_softmax(states["parent_hidden"] @ states["parent_head"].T, -1)
    expected = functional.kl_div(student, parent, reduction="sum", log_target=True)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients(loss, states), gradients(expected, states), rtol=1e-4, atol=1e-4)


def test_cross_entropy_and_its_gradients_against_torch(states):
    targets = torch.randint(0, 40, (COUNT,), generator=GENERATOR)
    loss = cross_entropy(states["hidden"], states["head"], targets)
    expected = functional.cross_entropy(states["hidden"] @ states["head"].T, targets, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients(loss, states), gradients(expected, states), rtol=1e-4, atol=1e-4)


def test_distillation_from_itself_is_zero_against_theory(states):
    loss = distillation(states["hidden"], states["head"], states["hidden"].detach(), states["head"].detach())
    assert abs(loss.item()) < 1e-3
    assert gradients(loss, states)[0].abs().max() < 1e-5
