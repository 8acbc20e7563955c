"""Runs of `dropeact measure` in processes of their own, and what two of them stored, compared."""

import os
import subprocess
import sys
from pathlib import Path

import xarray as xr

from dropeact.store import Store

ROOT = Path(__file__).parents[2]


def started(inputs, out, rank, count):
    """One process of `count` that share a run, with one thread."""
    environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "dropeact", "measure", *inputs, f"--out={out}"]
    return subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def launched(inputs, out, count):
    """The launcher of torch, which starts `count` processes of one thread and tells each its rank."""
    unset = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
    line = [*launcher, "-m", "dropeact", "measure", *inputs, f"--out={out}"]
    return subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def same(one, other):
    """Both folders hold the same numbers, bit for bit; the noise floor apart, which measures just that."""
    ours, theirs = Store(one).files(), Store(other).files()
    assert [file.relative_to(one) for file in ours] == [file.relative_to(other) for file in theirs]
    for a, b in zip(ours, theirs, strict=True):
        if "noise" not in a.name:
            xr.testing.assert_identical(*(xr.load_dataset(f, engine="h5netcdf").drop_attrs() for f in (a, b)))
