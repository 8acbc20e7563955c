"""pytest set-up: where options, verdicts and fixtures come from, and whether claims or tests are collected."""

import os
from pathlib import Path

import pytest

from fixtures.devices import pin_worker

pin_worker(os.environ)  # a session fixture would be too late: torch looks once

pytest_plugins = ["fixtures.options", "fixtures.verdicts", "fixtures.measured", "fixtures.baseline"]

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave claims/ out of an ordinary run, and tests/ out of a run of the claims."""
    from fixtures.options import selects_claims  # a listed plugin must not be imported before pytest rewrites it

    unwanted = HERE / ("tests" if selects_claims(config) else "claims")
    return True if unwanted in (collection_path, *collection_path.parents) else None
