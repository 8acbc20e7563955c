import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from torch.utils import backend_registration

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="needs a torch that takes a device written in Python",
)
ROOT = Path(__file__).parents[2]
MIXED = """
import torch
from tests.another_device.pretended import pretending
with pretending():
    there = torch.arange(3.0, device="pretend")
    assert (there + torch.tensor(1.0))[torch.tensor([2])].tolist() == [3.0]  # numbers and indices may be here
    there + torch.ones(3)
"""


def run(*arguments):
    """A process of its own: torch knows of the device in all of it."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_every_kind_of_cell_on_another_device_against_the_cpu(tmp_path):
    done = run("-m", "tests.another_device.measured", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    here, there = tmp_path / "cpu", tmp_path / "pretend"
    files = sorted(file.relative_to(here) for file in here.rglob("*.nc"))
    assert files == sorted(file.relative_to(there) for file in there.rglob("*.nc"))
    assert len(files) > 40
    for file in files:
        if not file.name.startswith("noise"):  # which tells how kinds of products differ, and a CPU has more of them
            expected, found = (xr.load_dataset(folder / file, engine="h5netcdf") for folder in (here, there))
            xr.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_every_architecture_on_another_device_against_the_cpu():
    done = run("-m", "tests.another_device.probed")
    assert done.returncode == 0, done.stderr[-2000:]


def test_tensors_of_both_devices_in_one_operation_are_refused_as_a_gpu_would():
    done = run("-c", MIXED)
    assert done.returncode != 0
    assert "expected all tensors on one device for aten.add.Tensor" in done.stderr
