"""Files that are made once and kept: where they lie, and how one process at a time makes them whole or not at all."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir

from dropeact.axes import InputError


def cache_folder() -> Path:
    """Name the cache: the environment variable DROPEACT_CACHE, or the user's cache folder."""
    return Path(os.environ.get("DROPEACT_CACHE") or user_cache_dir("dropeact"))


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, made by `make(temporary folder)` unless it exists: under a lock, renamed when complete.

    Raises
    ------
    InputError
        When the cache cannot be written.
    """
    if folder.is_dir():
        return folder
    _check_writable(folder.parent)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            unfinished = folder.with_name(f"{folder.name}.tmp.{os.getpid()}")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            try:
                make(unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _check_writable(place: Path) -> None:
    """Make the place, and say how to name another one where that fails."""
    reason = "no permission to write"
    try:
        place.mkdir(parents=True, exist_ok=True)
        if os.access(place, os.W_OK | os.X_OK):
            return
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
    raise InputError(
        f"expected a cache that can be written; got {place} ({reason}); name another folder in the environment "
        "variable DROPEACT_CACHE"
    )


def sha256_of(path: Path) -> str:
    """Hash a file's content; a file of the Hugging Face cache carries its sha256 as the name of its blob."""
    blob = path.resolve().name
    if len(blob) == 64 and set(blob) <= set("0123456789abcdef"):
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
