"""A model whose one massive channel carries the answer: what takes it away, and what must not."""

import pytest
import torch
import xarray as xr
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements.conditions import zeroed
from dropeact.measurements.controls import CONTROLS, controls
from dropeact.measurements.disruption import RANDOM, equal_dose, masks
from dropeact.measurements.observe import observe
from dropeact.probes.channels import Fixed, OnePerHead, ReplaceDims, ZeroProjectedDims
from dropeact.probes.interventions import Intervention, ZeroDims, intervening
from tests.planted_models import ANSWERS, CHANNEL, recalled, recaller

TEXTS = torch.tensor([recalled(answer, seed=10 * seed + answer) for seed in range(8) for answer in range(ANSWERS)])


@pytest.fixture(scope="module", params=[True, False], ids=["rope", "nope"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return recaller(rotation=request.param)


@pytest.fixture(scope="module")
def norms(model: PreTrainedModel) -> xr.Dataset:
    """Norms pooled over other texts than those that are asked."""
    texts = torch.tensor([recalled(i % ANSWERS, seed=100 + i) for i in range(8)])
    seen = observe(model, texts, ids=[str(i) for i in range(8)], halves=["B"] * 8)
    return seen[["query_norm", "key_norm"]].sel(selected_on="B", site="attended", drop=True)


def accuracy(model: PreTrainedModel, *interventions: Intervention) -> float:
    """How often the last token but one is followed by the marked answer."""
    with intervening(model, *interventions), torch.no_grad():
        said: Tensor = model(TEXTS[:, :-1], use_cache=False).logits[:, -1].argmax(-1)
    return float((said == TEXTS[:, -1]).float().mean())


def test_one_channel_of_one_head_is_massive(norms: xr.Dataset) -> None:
    dose = equal_dose(norms, norms)
    assert dose.values.tolist() == [[1, 1]]
    chosen = zeroed(masks(norms, dose, seed=0), "massive")
    assert (chosen.query.nonzero().tolist(), chosen.key.nonzero().tolist()) == (
        [[0, 0, 0, CHANNEL]],
        [[0, 0, 0, CHANNEL]],
    )


def test_the_answer_goes_with_the_massive_channel_however_it_is_taken(
    model: PreTrainedModel, norms: xr.Dataset
) -> None:
    massive = zeroed(masks(norms, equal_dose(norms, norms), seed=0), "massive")
    assert accuracy(model) == 1
    for taken in (
        massive,
        ZeroProjectedDims(massive.query, massive.key),
        ReplaceDims(Fixed(massive.query, massive.key), "mean"),
        ReplaceDims(OnePerHead(), "mean"),
    ):
        assert accuracy(model, taken) < 0.5, taken  # chance is 0.2


def test_the_answer_stays_under_every_control(model: PreTrainedModel, norms: xr.Dataset) -> None:
    dose = equal_dose(norms, norms)
    made: dict[str, Intervention] = {name: zeroed(masks(norms, dose, seed=0), name) for name in RANDOM}
    made |= {name: controls(norms, dose, name) for name in CONTROLS}
    made["bottom of each head"] = ReplaceDims(OnePerHead(largest=False), "mean")
    for name, control in made.items():
        assert not isinstance(control, ZeroDims) or control.query.sum() == 1, name
        assert accuracy(model, control) == 1, name
