"""Test-driven scientific claims about what happens inside a language model.

The pipeline, in the order of the data:

>>> from pathlib import Path
>>> import dropeact
>>> from dropeact import pairs, report, verdicts
>>> from dropeact.measurements.plan import Request, measure_pair

>>> pair, out = pairs.load("smollm2-135m"), Path("runs/mine")   # what is measured, and where it goes
>>> measure_pair(Request(pair), out)                            # one probed pass a text -> labelled arrays on disk
>>> tree = dropeact.open(out)                                   # the labelled arrays, as an xarray.DataTree
>>> records = verdicts.judge(out)                               # claim -> estimate -> verdict
>>> page = report.write(out)                                    # verdicts + arrays -> FINDINGS.md

Nothing heavy is imported here: judging and reporting need neither torch nor transformers, which measuring loads.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__version__ = "0.1.0"

# Idle OpenMP threads spin for milliseconds, beside LAPACK's and those of other processes: observing takes a seventh
# longer on two cores. Read when torch is loaded, which no module of this package does before this line.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def open(directory: str | Path) -> "xr.DataTree":
    """Open stored results as one labelled tree: /<column>/<corpus>-<arm>/<measurement>."""
    from dropeact.store import Store

    return Store(Path(directory)).tree()
