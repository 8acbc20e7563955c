import importlib.util
import json

import numpy as np
import pytest

import dropeact
from dropeact import pairs
from dropeact.axes import InputError
from dropeact.measurements import harness
from dropeact.measurements.plan import Request
from tests.checkpoints import tiny

SAMPLES = [
    {
        "task": "niah",
        "doc_id": number,
        "filter": "none",
        "metrics": ["512", "1024"],
        "512": float(number % 2),
        "1024": -1,
    }
    for number in range(5)
]


def test_items_alternate_between_halves_and_a_metric_without_a_say_is_nan_against_hand_count():
    first, second = (harness.labelled("niah", SAMPLES, half) for half in "AB")
    assert first["text"].values.tolist() == ["niah-0-none", "niah-2-none", "niah-4-none"]
    assert second["score"].sel(metric="512").values.tolist() == [1, 1]
    assert np.isnan(first["score"].sel(metric="1024")).all()


def test_a_missing_harness_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    def absent(name):
        raise harness.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(harness.importlib.metadata, "version", absent)
    with pytest.raises(InputError, match="pip install lm-eval"):
        harness.measure_tasks(Request(pairs.load("smollm2-135m")), harness.Asked(("arc_easy",)), tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_a_task_of_ones_own_is_scored_for_every_column_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "items.jsonl"
    rows = [{"question": f"item {n} is", "choices": ["a", "b"], "label": n % 2} for n in range(4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text(
        f"task: own\ndataset_path: json\ndataset_kwargs:\n  data_files: {data}\ntest_split: train\n"
        'output_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_choice: choices\ndoc_to_target: label\n'
        "metric_list:\n  - metric: acc\n"
    )
    checkpoint = str(tiny.saved(tmp_path / "model", layers=2))
    request, asked = Request(pairs.of(checkpoint, checkpoint)), harness.Asked(("own",), folder=str(tmp_path))
    harness.measure_tasks(request, asked, tmp_path / "out")
    monkeypatch.setattr(harness, "evaluated", lambda *_: pytest.fail("measured again"))
    harness.measure_tasks(request, asked, tmp_path / "out")
    tree = dropeact.open(tmp_path / "out")
    rope, drope = (tree[f"{column}/harness-first/own"].to_dataset()["score"] for column in ("rope", "drope"))
    assert rope.sizes["text"] == 4
    np.testing.assert_array_equal(rope.values, drope.values)
