"""A place that cannot be written, as a user meets it: one line that names it, status 2, and nothing lost."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch

from dropeact import failures
from dropeact.cli import main
from dropeact.store import Store
from tests.synthetic_results import results

ROOT = Path(__file__).parents[1]
HDF5 = "[Errno 13] Unable to create file (unable to open file: name = 'run/a.nc', errno = 13, error message = 'denied')"
GPU = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.72 GiB\nof which 8.00 MiB is"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
CPU = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
CLOSED = "Can't decrement id ref count (file write failed: time = Thu, filename = 'run/a.nc', errno = 28, error = 'x')"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "no", "run/.lock"), "expected to write run/.lock; got permission denied; name"),
        (OSError(errno.EROFS, "no", "run"), "expected to write run; got read-only file system; name another folder"),
        (OSError(errno.ENOSPC, "no"), "expected to write the results; got no space left on device; free some space"),
        (FileExistsError(errno.EEXIST, "no", "run"), "expected to write run; got file exists; name another place"),
        (
            OSError(errno.ELOOP, "no", "run"),
            "expected to write run; got too many levels of symbolic links; name another",
        ),
        (
            FileNotFoundError(errno.ENOENT, "no", "/proc/x"),
            "expected to write /proc/x; got no such file or directory; name",
        ),
        (OSError(errno.ENOTEMPTY, "no", "new"), "expected to write new; got directory not empty; name another place"),
        (PermissionError(HDF5), "expected to write run/a.nc; got permission denied; name another folder"),
        (RuntimeError(CLOSED), "expected to write run/a.nc; got no space left on device; free some space"),
        (
            Exception("Error while serializing: I/O error: no (os error 28)"),
            "expected to write the results; got no space",
        ),
    ],
    ids=[
        "denied",
        "read-only",
        "full",
        "a file there",
        "a loop",
        "a folder of the kernel",
        "a full folder",
        "HDF5 denied",
        "HDF5 full",
        "safetensors full",
    ],
)
def test_an_error_of_writing_says_where_why_and_what_helps(error, line):
    assert str(failures.told(error)).startswith(line)
    assert "\n" not in str(failures.told(error))


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (torch.OutOfMemoryError(GPU), "20.00 GiB"),
        (torch.OutOfMemoryError(), "the next step"),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"), "the next step"),
        (RuntimeError(CUBLAS), "the next step"),
        (RuntimeError(CPU), "8 bytes"),
        (MemoryError("Unable to allocate 1.00 TiB for an array with shape (2, 3)"), "1.00 TiB"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the next step"),
    ],
    ids=["torch", "torch without a word", "the driver", "a library of CUDA", "torch on a CPU", "NumPy", "the system"],
)
def test_memory_that_is_full_says_how_much_was_asked_for_and_what_helps(error, what):
    line = str(failures.told(error))
    assert line.startswith(
        f"expected memory for {what}; got too little; use a larger device, or several (--device=auto)"
    )
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shape (28,)"),
        RuntimeError("mat1 and mat2"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        FileNotFoundError(errno.ENOENT, "no", "x"),
        OSError("x"),
    ],
)
def test_an_error_about_something_else_stays_itself(error):
    assert failures.told(error) is None


def test_what_hdf5_says_of_a_file_it_cannot_create_is_understood(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="name = ") as caught:
        h5py.File(tmp_path / "file" / "a.nc", "w")
    assert str(failures.told(caught.value)).startswith(f"expected to write {tmp_path}/file/a.nc; got not a directory")


def command(monkeypatch, capsys, *arguments):
    """The status of the command, and what it says on the error channel."""
    monkeypatch.setattr(sys, "argv", ["dropeact", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_a_folder_of_results_that_is_a_file_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        status, said = command(monkeypatch, capsys, "measure", "--pair=smollm2-135m", f"--out={out}")
        assert (status, said.count("\n")) == (2, 1)
        assert said.startswith(f"dropeact: expected to write {tmp_path / 'file'}")


@pytest.mark.parametrize("under", ["loop/run", "loop/run/deep", "/proc/nothing", "/proc/nothing/deep"])
def test_a_place_under_a_loop_or_in_the_kernels_folder_is_one_line_and_status_2(under, tmp_path, monkeypatch, capsys):
    if under.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    folder = results(tmp_path / "run")
    for arguments in (
        ["measure", "--pair=smollm2-135m", f"--out={tmp_path / under}"],
        ["report", folder, f"--output={tmp_path / under / 'page.md'}"],
    ):
        status, said = command(monkeypatch, capsys, *arguments)
        assert (status, said.count("\n")) == (2, 1)
        assert said.startswith("dropeact: expected to write ")
        assert said.endswith("; name another place\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_report_that_cannot_be_written_is_one_line_and_the_old_one_stays(number, tmp_path, monkeypatch, capsys):
    folder = results(tmp_path)
    (folder / "records.csv").write_text("before")
    replaced = Path.replace

    def refused(temporary, target):
        if not temporary.is_relative_to(tmp_path):  # figures on their way into the page lie elsewhere
            return replaced(temporary, target)
        raise OSError(number, os.strerror(number), str(temporary))

    monkeypatch.setattr(Path, "replace", refused)
    status, said = command(monkeypatch, capsys, "report", folder, f"--output={tmp_path / 'page.html'}", "--html")
    assert (status, said.count("\n")) == (2, 1)
    assert f"expected to write {tmp_path / 'page.html'}; got {os.strerror(number).lower()}" in said
    assert (folder / "records.csv").read_text() == "before"
    assert not list(tmp_path.rglob("*.tmp.*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    folder = results(tmp_path)
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        place.chmod(0o555)
    try:
        status, said = command(monkeypatch, capsys, "report", folder)
    finally:
        for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            place.chmod(0o755)
    assert (status, said.count("\n")) == (2, 1)
    assert "got permission denied; name another folder" in said


def claims(*options):
    line = [sys.executable, "-m", "pytest", "-m", "claims", "-p", "no:cacheprovider", "-q", *map(str, options)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_")) and k != "CI"}
    run = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=clean, timeout=300, check=False)
    said = run.stdout + run.stderr
    assert "Traceback" not in said
    return run.returncode, [line for line in said.splitlines() if "dropeact:" in line], said


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_claims_that_cannot_be_measured_into_a_file_are_one_line_and_status_2(workers, tmp_path):
    (tmp_path / "file").touch()
    status, lines, _ = claims("--fresh", f"--out={tmp_path}/file/run", "--device=cpu", *workers)
    assert (status, len(lines)) == (2, 1)
    assert f"expected to write {tmp_path}/file" in lines[0]


def test_verdicts_that_cannot_be_written_are_printed_with_one_line_and_status_2(tmp_path):
    folder = results(tmp_path)
    stored = [file.read_bytes() for file in Store(folder).files()]
    (folder / "verdicts.json").mkdir()
    (folder / "verdicts.json" / "kept").touch()
    status, lines, said = claims(f"--results={folder}")
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith(f"dropeact: expected to write {folder}/verdicts.json; got is a directory; name another")
    assert "verdicts: synthetic" in said
    assert [file.read_bytes() for file in Store(folder).files()] == stored
    assert not list(folder.rglob("*.tmp.*"))
