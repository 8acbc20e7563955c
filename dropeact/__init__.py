"""Test-driven scientific claims about what happens inside a language model.

The pipeline, in the order of the data:

>>> pair = dropeact.pairs.load("smollm2-135m")                  # what is measured      # doctest: +SKIP
>>> dropeact.measurements.measure(pair, out)                    # one probed pass -> labelled arrays on disk
>>> tree = dropeact.open(out)                                   # the labelled arrays, as an xarray.DataTree
>>> records = dropeact.verdicts.judge(out)                      # claim -> estimate -> verdict
>>> dropeact.report.write(out)                                  # verdicts + arrays -> FINDINGS.md

Nothing heavy is imported here: judging and reporting need neither torch nor transformers.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__version__ = "0.1.0"


def open(directory: str | Path) -> "xr.DataTree":
    """Open stored results as one labelled tree: /<column>/<corpus>-<arm>/<measurement>."""
    from dropeact.store import Store

    return Store(Path(directory)).tree()
