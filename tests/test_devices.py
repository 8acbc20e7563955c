import os

import pytest
import torch

from dropeact.measurements.provenance import default_device
from fixtures.devices import pin_worker


@pytest.mark.parametrize(
    ("visible", "worker", "expected"),
    [
        ("4,5", "gw0", "4"),
        ("4,5", "gw3", "5"),
        ("GPU-a1, GPU-b2", "gw1", "GPU-b2"),
        (None, "gw1", "1"),
        (None, "gw2", "0"),
        ("", "gw0", ""),  # the caller hides every GPU
        ("4,5", None, "4,5"),
    ],
)
def test_each_worker_sees_one_of_the_callers_devices(visible, worker, expected, tmp_path):
    for name in ("nvidia3", "nvidia5", "nvidiactl"):  # those that a container was given
        (tmp_path / name).touch()
    environment = {"CUDA_VISIBLE_DEVICES": visible, "PYTEST_XDIST_WORKER": worker}
    environment = {name: value for name, value in environment.items() if value is not None}
    pin_worker(environment, tmp_path)
    assert environment.get("CUDA_VISIBLE_DEVICES") == expected


def test_without_a_device_nothing_is_set(tmp_path):
    environment = {"PYTEST_XDIST_WORKER": "gw0"}
    pin_worker(environment, tmp_path)
    assert environment == {"PYTEST_XDIST_WORKER": "gw0"}


def test_tests_compute_on_the_cpu_here_and_in_processes_that_they_start():
    assert default_device() == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ({}, "cuda"),
        ({"LOCAL_RANK": "1"}, "cuda:1"),
        ({"SLURM_LOCALID": "3"}, "cuda:1"),  # more processes than GPUs
        ({"LOCAL_RANK": "0", "SLURM_LOCALID": "1"}, "cuda:0"),
        ({"LOCAL_RANK": ""}, "cuda"),
    ],
)
def test_each_process_of_a_machine_takes_a_gpu_by_its_local_rank(ranks, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    assert default_device() == expected
