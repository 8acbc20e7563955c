from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import PreTrainedModel

from dropeact.checkpoints.products import IS_THERE
from dropeact.measurements import phenomena
from dropeact.measurements.noise_floor import largest_change, largest_relative_change, noise_floor
from dropeact.measurements.observe import observe
from tests import tiny_models

EXACT = ["repeat", "threads", "batch", *(["products"] if IS_THERE else [])]


def test_changes_against_hand_count() -> None:
    a, b = np.array([1.0, 0.0, -4.0, np.nan]), np.array([1.0, 0.0, -5.0, np.nan])
    assert largest_change(a, b) == 1
    assert largest_relative_change(a, b) == pytest.approx(0.2)
    assert np.isnan(largest_change(a, np.zeros(4)))
    assert largest_relative_change(np.array([1]), np.array([0])) == 1


def test_every_variable_of_a_repeated_cell_has_a_floor_and_threads_are_restored() -> None:
    before = torch.get_num_threads()
    floor = noise_floor(tiny_models.llama(), tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"])
    assert torch.get_num_threads() == before
    assert floor["comparison"].values.tolist() == [*EXACT, "precision"]
    assert {"absolute_massive_count", "relative_sink_score", "absolute_nats_mean"} <= set(floor.data_vars)
    assert all((floor[name].sel(comparison="repeat") == 0).all() for name in floor.data_vars)
    exact = floor.sel(comparison=EXACT)
    assert all((exact[name] < 1e-3).all() for name in exact.data_vars)
    assert floor["absolute_nats_mean"].sel(comparison="precision") > exact["absolute_nats_mean"].max()
    assert floor["absolute_query_norm"].sel(comparison="batch") < 1e-3


def test_a_model_in_half_precision_is_compared_with_itself_in_float32() -> None:
    model = tiny_models.llama().to(dtype=torch.bfloat16)  # pyright: ignore[reportCallIssue]
    floor = noise_floor(model, tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"])
    assert floor["absolute_nats_mean"].sel(comparison="precision") > 1e-4
    assert model.dtype == torch.bfloat16


def test_a_model_without_room_for_a_copy_has_no_floor_of_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_model: object) -> None:
        raise torch.OutOfMemoryError

    model = tiny_models.llama()
    monkeypatch.setattr("dropeact.measurements.noise_floor.copy.deepcopy", full)
    floor = noise_floor(model, tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"])
    assert floor["comparison"].values.tolist() == EXACT


def test_a_copy_without_room_for_its_pass_has_no_floor_of_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def within_room(model: PreTrainedModel, *args: Any, **kwargs: Any) -> xr.Dataset:
        if model.dtype == torch.bfloat16:
            raise torch.OutOfMemoryError
        return observe(model, *args, **kwargs)

    monkeypatch.setattr("dropeact.measurements.noise_floor.observe", within_room)
    floor = noise_floor(tiny_models.llama(), tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"])
    assert floor["comparison"].values.tolist() == EXACT


def test_phenomena_of_the_observe_set_have_a_floor_too() -> None:
    floor = noise_floor(
        tiny_models.llama(), tiny_models.tokens(2, 60), ids=["a", "b"], halves=["A", "A"], phenomena=phenomena.BEYOND
    )
    assert {"absolute_write_share", "absolute_attention_share", "absolute_distance_mass"} <= set(floor.data_vars)
    measured = [name for name in floor.data_vars if str(name).startswith("absolute") and "activation" not in str(name)]
    assert all((floor[name].sel(comparison=EXACT) < 1e-3).all() for name in measured)
    assert floor["absolute_write_share"].sel(comparison="precision") > 1e-4


@pytest.mark.skipif(not IS_THERE, reason="no AVX-512 here, or a torch without oneDNN's product")
def test_one_observation_is_made_without_onednn_and_the_next_ones_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bool] = []

    def watched(*args: Any, **kwargs: Any) -> xr.Dataset:
        used.append(bool(torch.backends.mkldnn.enabled))
        return observe(*args, **kwargs)

    monkeypatch.setattr("dropeact.measurements.noise_floor.observe", watched)
    noise_floor(tiny_models.llama(), tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"])
    assert (used.count(False), used[-1], torch.backends.mkldnn.enabled) == (1, True, True)


def test_another_precision_leaves_rotary_frequencies_as_every_model_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PreTrainedModel] = []

    def watched(model: PreTrainedModel, *args: Any, **kwargs: Any) -> xr.Dataset:
        seen.append(model)
        return observe(model, *args, **kwargs)

    monkeypatch.setattr("dropeact.measurements.noise_floor.observe", watched)
    noise_floor(tiny_models.llama(), tiny_models.tokens(), ids=["a", "b"], halves=["A", "A"])
    assert {parameter.dtype for parameter in seen[-1].parameters()} == {torch.bfloat16}
    assert {buffer.dtype for name, buffer in seen[-1].named_buffers() if "inv_freq" in name} == {torch.float32}
