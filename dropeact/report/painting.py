"""Figures of stored results painted by a process of their own, while another one reaches the verdicts.

`python -m dropeact.report.painting RESULTS FOLDER` paints what the folder lacks, with `--replace` everything anew.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dropeact.measured import of_run
from dropeact.report.gallery import of_experiments
from dropeact.store import Store

REPLACE = "--replace"


@contextmanager
def painting(directory: Path, folder: Path, *, replace: bool, processes: int) -> Iterator[Callable[[], bool]]:
    """Paint beside what is done inside, where there is something to paint and a second process to do it.

    The call that is given waits for the end of it, and says whether every figure is there. A process that fails says
    nothing: whoever asked paints the figures, and meets what it met.
    """
    if processes < 2 or not (replace or not any(folder.glob("*.svg"))):
        yield lambda: False
        return
    line = [sys.executable, "-P", "-m", __name__, str(directory), str(folder), *([REPLACE] if replace else [])]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield lambda: process.wait() == 0
        finally:
            process.kill()  # what is not there yet is not wanted any more


def main(directory: str, folder: str, *options: str) -> None:
    """Paint the figures of a folder of results."""
    store = Store(Path(directory))
    of_experiments(of_run(store, store.read_run()), Path(folder), replace=REPLACE in options)


if __name__ == "__main__":
    main(*sys.argv[1:])
