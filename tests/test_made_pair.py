"""A pair that is made, not found: a tiny Llama trained with RoPE, dropped, recalibrated, measured and judged."""

import json

import numpy as np
import pytest
import torch

from dropeact import pairs
from dropeact.checkpoints.convert import convert
from dropeact.checkpoints.load import load
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.recalibrate import recalibrate
from dropeact.measured import natural
from dropeact.measurements import plan
from dropeact.store import Store
from dropeact.verdicts import judge
from tests.checkpoints import tiny

STEP = 8 * 64


def walks(count, *, words, seed):
    """Texts whose next word follows from the last two: every walk keeps its own stride through the words."""
    chosen = np.resize(np.random.default_rng(seed).permutation(100), count)
    return [" ".join(tiny.WORDS[(n // 5 + (n % 5 + 1) * i) % 20] for i in range(words)) for n in chosen]


def written(file, texts):
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(file)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of the model trained with RoPE, of the converted one and of the recalibrated one, and texts."""
    home = tmp_path_factory.mktemp("made")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shared = {
        "corpus": written(home / "corpus.jsonl", walks(400, words=120, seed=0)),
        "length": 64,
        "batch": 8,
        "micro_batch": 8,
        "trainables": "all",
        "learning_rate": 4e-3,
        "heldout_windows": 4,
        "evaluations": 2,
    }
    start = str(tiny.saved(home / "start", layers=3))
    training = Options(start, str(home / "rope"), objective="ce", keep_rope=True, tokens=300 * STEP, **shared)
    trained = recalibrate(training)
    convert(str(trained), str(home / "dropped"), None, False)
    recalibrate(Options(str(trained), str(home / "drope"), tokens=200 * STEP, **shared))
    torch.set_num_threads(threads)
    return home, written(home / "texts.jsonl", walks(16, words=600, seed=1))


@pytest.fixture(scope="module")
def measured(made):
    home, texts = made
    pair = pairs.of(str(home / "rope"), str(home / "drope"))
    plan.measure_pair(plan.Request(pair, texts=texts), home / "run", progress=False)
    return natural(Store(home / "run"), pair)


def test_dropping_costs_what_was_learnt_and_recalibration_brings_part_of_it_back(measured):
    rope, dropped, drope = (
        float(model.nats("baseline").mean()) for model in (measured.rope, measured.dropped, measured.drope)
    )
    assert dropped > 2 * rope, (rope, dropped, drope)
    assert drope - rope < 0.5 * (dropped - rope), (rope, dropped, drope)


def test_the_converted_checkpoint_is_the_dropped_column(made, measured):
    home, _ = made
    converted = load(str(home / "dropped")).model.state_dict()
    for name, weight in load(str(home / "rope")).model.state_dict().items():
        torch.testing.assert_close(converted[name], weight, atol=0, rtol=0)


@pytest.mark.usefixtures("measured")
def test_every_claim_of_the_core_set_is_judged_on_the_made_pair(made):
    home, _ = made
    records = [record for record in judge(home / "run") if record.set == "core"]
    assert len(records) > 20
    assert "not measured" not in {record.verdict for record in records}
    assert {"supported", "contradicted"} <= {record.verdict for record in records}
    errors = [record.reason for record in records if record.reason.startswith("error")]
    assert errors == []
