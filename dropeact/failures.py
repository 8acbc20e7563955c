"""An exception because a file could not be written, or memory is full -> the one line that says why and what helps."""

import errno
import os
import re
from pathlib import Path
from typing import cast

from dropeact.axes import InputError

ELSEWHERE = "name another folder, or let this one be written"
ROOM = "free some space and start the same command again, which keeps what is stored"
OTHER = "name another place"
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ELSEWHERE),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTEMPTY), OTHER),
    errno.ELOOP: OTHER,
}
KERNELS = "/proc/"  # where a new folder is told as missing; elsewhere a missing file is none that was to be written
# Python, HDF5 and Rust (safetensors); where h5py closes a file on a full disk, it raises a RuntimeError with the number
NUMBER = re.compile(r"\[Errno (\d+)\]|errno = (\d+)|os error (\d+)")
MEMORY = re.compile(r"out ?of ?memory|can't allocate memory|_STATUS_ALLOC_FAILED", re.IGNORECASE)
ASKED = re.compile(r"(?:tried|unable) to allocate ([\d.]+ \w+)", re.IGNORECASE)
SMALLER = (
    "use a larger device, or several (--device=auto), or ask for less at once (--dtype=bfloat16; in training "
    "--micro-batch or --checkpointing); the same command again keeps what is stored"
)
NAME = re.compile(r"name = '([^']+)'")


def told(error: Exception, path: Path | None = None) -> InputError | None:
    """The line about a place that cannot be written or memory that is full, or None where it is something else.

    `path` names what was being written, where the error itself does not or names a temporary file.
    """
    if lacks_memory(error):
        asked = ASKED.search(str(error))
        return InputError(f"expected memory for {asked[1] if asked else 'the next step'}; got too little; {SMALLER}")
    if isinstance(error, RuntimeError) and getattr(error.__context__, "errno", None) == errno.ELOOP:
        error = cast(OSError, error.__context__)  # Path.resolve raises it so before Python 3.13
    number = (error.errno if isinstance(error, OSError) else None) or _number(str(error)) or 0
    named = NAME.search(str(error))
    where = path or getattr(error, "filename", None) or (named[1] if named else "the results")
    remedy = OTHER if number == errno.ENOENT and str(where).startswith(KERNELS) else REMEDIES.get(number)
    if remedy is None:
        return None
    return InputError(f"expected to write {where}; got {os.strerror(number).lower()}; {remedy}")


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the machine's, is full, as torch, NumPy or the system do.

    Not by its class: what CUDA itself or its libraries refuse is another error than torch's own.
    """
    if isinstance(error, RuntimeError):
        return MEMORY.search(f"{type(error).__name__} {error}") is not None
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def _number(text: str) -> int | None:
    found = NUMBER.search(text)
    return int(next(filter(None, found.groups()))) if found else None
