"""A device whose memory is full in the middle of a run: one line, status 2, and what was measured stays."""

import sys

import pytest
import torch

from dropeact.cli import main
from dropeact.measurements import observe
from dropeact.store import Store

FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.00 GiB is free."
)


def refused(*_arguments, **_options):
    raise torch.OutOfMemoryError(FULL)


def test_memory_that_is_full_ends_a_run_with_one_line_and_what_was_measured_stays(
    inputs, tmp_path, monkeypatch, capsys
):
    out, passes = tmp_path / "run", iter([observe.observe])
    monkeypatch.setattr(observe, "observe", lambda *given, **options: next(passes, refused)(*given, **options))
    monkeypatch.setattr(sys, "argv", ["dropeact", "measure", *inputs, f"--out={out}", "--device=cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dropeact: ")]
    assert ended.value.code == 2
    assert line.startswith("dropeact: expected memory for 2.00 GiB; got too little; use a larger device")
    assert [file.name for file in Store(out).files()] == ["observations-A.nc"]
