"""What several tests of running processes share."""

import json

import pytest

from tests.checkpoints import tiny


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """The options of a tiny pair on sixteen texts."""
    home = tmp_path_factory.mktemp("pair")
    texts = home / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": t}) + "\n" for t in tiny.documents(16, words=700, seed=5)))
    checkpoints = [tiny.saved(home / name, layers=2, seed=seed) for seed, name in enumerate(("rope", "drope"))]
    return [f"--rope={checkpoints[0]}", f"--drope={checkpoints[1]}", f"--texts={texts}"]
