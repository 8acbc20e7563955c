"""A measuring of two checkpoints that are known by what is said of them alone."""

from pathlib import Path
from typing import Any

from dropeact import pairs
from dropeact.measurements.measuring import Measuring
from dropeact.measurements.request import Request
from dropeact.store import Store


def described(home: Path, **columns: dict[str, Any]) -> Measuring:
    """Two rotating checkpoints in full precision, `one` and `two`, save what is said otherwise of a column."""
    measuring = Measuring(Request(pairs.load(pairs.DEFAULT)), Store(home))
    plain = {"quantization": None, "architecture": "qwen2", "rope": True}
    identities = {"rope": plain | {"id": "one", "sha256": "1"}, "drope": plain | {"id": "two", "sha256": "2"}}
    measuring.identities = {c: identity | columns.get(c, {}) for c, identity in identities.items()}
    return measuring
