"""What tests of the probes share."""

import pytest

from dropeact.probes import rows


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of queries and of keys, the last one shorter."""
    monkeypatch.setattr(rows, "SMALLEST_BLOCK", 1)
    monkeypatch.setattr(rows, "BLOCK_ELEMENTS", {"cpu": 2 * 4 * 40 * 12})
    monkeypatch.setattr(rows, "OUTER_AT_ONCE", 12)
