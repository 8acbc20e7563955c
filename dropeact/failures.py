"""An exception because a file could not be written -> the one line that says which, why and what helps."""

import errno
import os
import re
from pathlib import Path

from dropeact.axes import InputError

ELSEWHERE = "name another folder, or let this one be written"
ROOM = "free some space and start the same command again, which keeps what is stored"
OTHER = "name another place"
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ELSEWHERE),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTEMPTY), OTHER),
}
# Python, HDF5 and Rust (safetensors); where h5py closes a file on a full disk, it raises a RuntimeError with the number
NUMBER = re.compile(r"\[Errno (\d+)\]|errno = (\d+)|os error (\d+)")
NAME = re.compile(r"name = '([^']+)'")


def told(error: Exception, path: Path | None = None) -> InputError | None:
    """The line about a place that cannot be written, or None where the error is about something else.

    `path` names what was being written, where the error itself does not or names a temporary file.
    """
    number = error.errno if isinstance(error, OSError) and error.errno else _number(str(error))
    if number not in REMEDIES:
        return None
    named = NAME.search(str(error))
    where = path or getattr(error, "filename", None) or (named[1] if named else "the results")
    return InputError(f"expected to write {where}; got {os.strerror(number).lower()}; {REMEDIES[number]}")


def _number(text: str) -> int | None:
    found = NUMBER.search(text)
    return int(next(filter(None, found.groups()))) if found else None
