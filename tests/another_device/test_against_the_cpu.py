import subprocess
import sys
from pathlib import Path

import pytest
import torch
import xarray as xr
from torch.utils import backend_registration

ROOT = Path(__file__).parents[2]
GPU = torch.cuda.is_available()  # before tests are kept from it
pretending = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="needs a torch that takes a device written in Python",
)
on_a_gpu = pytest.mark.skipif(not GPU, reason="needs a CUDA device")
MIXED = """
import torch
from tests.another_device.pretended import pretending
with pretending():
    there = torch.arange(3.0, device="pretend")
    assert (there + torch.tensor(1.0))[torch.tensor([2])].tolist() == [3.0]  # numbers and indices may be here
    there + {other}
"""
HEADS = """
from tests import tiny_models
from tests.another_device import pretended
from dropeact.checkpoints.weights import _check_head
model = tiny_models.llama()
model.config.tie_word_embeddings = True
with pretended.pretending():
    model.lm_head.to("pretend:1")
    _check_head(model, "here")
"""


def run(*arguments, environment=None):
    """A process of its own: torch knows of the device in all of it."""
    line = [sys.executable, *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment)


def stored(folder):
    """Every cell by its name, but the noise floor's: it tells how products differ, of which a CPU has more kinds."""
    read = {file.relative_to(folder): xr.load_dataset(file, engine="h5netcdf") for file in folder.rglob("*.nc")}
    return {name: dataset for name, dataset in read.items() if not name.name.startswith("noise")}


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(["pretend", "spread"], marks=pretending),
        pytest.param(["cuda", "auto"], marks=[pytest.mark.gpu, on_a_gpu]),
    ],
    ids=" and ".join,
)
def test_every_kind_of_cell_on_another_device_against_the_cpu(devices, tmp_path, on_the_cpu):
    done = run("-m", "tests.another_device.measured", str(tmp_path), *devices, environment=on_the_cpu)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = stored(tmp_path / "cpu")
    assert len(expected) > 40
    for device in devices:
        found = stored(tmp_path / device)
        assert set(found) == set(expected)
        for name, dataset in expected.items():
            xr.testing.assert_allclose(found[name], dataset, rtol=1e-3, atol=1e-4)


@pretending
@pytest.mark.parametrize("what", ["probed", "trained"])
def test_every_architecture_and_way_of_training_on_another_device_against_the_cpu(what, tmp_path):
    done = run("-m", f"tests.another_device.{what}", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]


@pretending
@pytest.mark.parametrize(
    "other", ["torch.ones(3)", "torch.ones(3, device='pretend:1')", "torch.ones(3).to('pretend:1')[0]"]
)
def test_tensors_of_both_devices_in_one_operation_are_refused_as_a_gpu_would(other):
    done = run("-c", MIXED.format(other=other))
    assert done.returncode != 0
    assert "expected all tensors on one device for aten.add.Tensor" in done.stderr


@pretending
def test_a_head_on_another_device_than_the_embeddings_that_it_is_tied_to_is_refused_by_name():
    done = run("-c", HEADS)
    assert "InputError: expected tied weights to be equal in here" in done.stderr
