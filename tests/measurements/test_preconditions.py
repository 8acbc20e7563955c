"""What is refused, or said, of two checkpoints before the first cell is measured."""

from typing import Any

import pytest
import torch

from dropeact import pairs
from dropeact.axes import InputError
from dropeact.measurements import plan, preconditions
from dropeact.measurements.core import tasks
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.store import Store
from tests.checkpoints import tiny


@pytest.fixture
def named(tmp_path):
    """A measuring of two checkpoints that are known by name alone."""

    def made(**described: dict[str, Any]) -> Measuring:
        measuring = Measuring(Request(pairs.load(pairs.DEFAULT)), Store(tmp_path))
        plain = {"quantization": None, "architecture": "qwen2", "rope": True}
        identities = {"rope": plain | {"id": "one", "sha256": "1"}, "drope": plain | {"id": "two", "sha256": "2"}}
        measuring.identities = {c: identity | described.get(c, {}) for c, identity in identities.items()}
        return measuring

    return made


@pytest.mark.parametrize("column", ["rope", "drope"])
def test_packed_weights_are_refused_and_dequantised_ones_are_not(named, column):
    preconditions.dense_weights(named(**{column: {"quantization": "GGUF Q4_1, dequantised to float32"}}))
    with pytest.raises(InputError, match=r"expected weights in full or half precision; got .*, quantised by gptq"):
        preconditions.dense_weights(named(**{column: {"quantization": "gptq"}}))


@pytest.mark.parametrize(
    ("drope", "said"),
    [({}, True), ({"rope": False}, False), ({"sha256": "1"}, False)],
    ids=["it rotates", "it does not", "the model itself"],
)
def test_a_drope_side_that_rotates_is_told(named, drope, said, capsys):
    preconditions.tell_rotation(named(drope=drope))
    told = capsys.readouterr().err
    assert ("two is a qwen2 and measured with its rotation" in told) == said
    assert bool(told) == said


def test_a_length_with_no_room_for_a_question_is_refused_before_anything_is_measured(tmp_path):
    folder = str(tiny.saved(tmp_path / "model"))
    asked = Request(pairs.of(folder, folder), sets="long", lengths=(16, 8192), texts=None)
    with pytest.raises(
        InputError, match=r"expected room for a text; got 16 tokens, \d+ of them taken; choose a longer"
    ):
        plan.measure_pair(asked, tmp_path / "out")
    assert not list(tmp_path.rglob("*.nc"))


def test_measuring_multiplies_float32_in_full_whatever_was_set_before(tmp_path):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        Measuring(Request(pairs.load(pairs.DEFAULT)), Store(tmp_path))
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_what_other_cells_wait_for_is_measured_before_the_noise_floor(tmp_path):
    planned = list(tasks(Measuring(Request(pairs.load(pairs.DEFAULT)), Store(tmp_path))))
    places = {name: [i for i, t in enumerate(planned) if t.cell.measurement == name] for name in
              ("observations", "noise-floor", "disruption")}  # fmt: skip
    assert max(places["observations"]) < min(places["noise-floor"]) < min(places["disruption"])
