"""The bridge to lm-evaluation-harness: against a small fake of it, and against the real one where it is installed."""

import importlib.util
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import dropeact
from dropeact import pairs
from dropeact.axes import COLUMNS, HALVES, InputError
from dropeact.files import read_dataset
from dropeact.measured import natural
from dropeact.measurements import harness, plan
from dropeact.measurements.plan import Request
from dropeact.store import Store
from dropeact.verdicts import judge
from tests.checkpoints import tiny
from tests.measurements import fake_lm_eval as fake

installed = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not installed, reason="lm-eval is not installed")

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
    assert first["text"].values.tolist() == ["niah-0", "niah-2", "niah-4"]
    assert second["score"].sel(metric="512").values.tolist() == [1, 1]
    assert np.isnan(first["score"].sel(metric="1024")).all()


def test_a_missing_harness_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    def absent(name):
        raise harness.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(harness.importlib.metadata, "version", absent)
    with pytest.raises(InputError, match="pip install lm-eval"):
        harness.measure_tasks(Request(pairs.load("smollm2-135m")), harness.Asked(("arc_easy",)), tmp_path)


@needs_harness
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
    rope, drope = (tree[f"{column}/harness-own/own"].to_dataset()["score"] for column in ("rope", "drope"))
    assert rope.sizes["text"] == 4
    np.testing.assert_array_equal(rope.values, drope.values)


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    checkpoint = str(tiny.saved(tmp_path_factory.mktemp("pair") / "model", layers=2))
    return Request(pairs.of(checkpoint, checkpoint))


def asked_of(request, out, *names, **options):
    harness.measure_tasks(request, harness.Asked(names, **options), out)
    return Store(out)


def test_every_column_is_asked_once_and_the_time_it_took_is_shared_by_its_halves(request_, tmp_path, monkeypatch):
    told = fake.Harness().install(monkeypatch)
    store = asked_of(request_, tmp_path / "out", "two_filters")
    asked_of(request_, tmp_path / "out", "two_filters")
    assert len(told.calls) == len(COLUMNS)
    seconds = [json.loads(read_dataset(file).attrs["dropeact_provenance"])["seconds"] for file in store.files()]
    assert len(seconds) == len(COLUMNS) * len(HALVES)
    assert all(second >= fake.SLEEP / len(HALVES) for second in seconds)


def test_an_item_is_one_text_of_one_half_however_many_filters_it_passes_against_hand_count(
    request_, tmp_path, monkeypatch
):
    fake.Harness().install(monkeypatch)
    scores = asked_of(request_, tmp_path, "two_filters").load("rope", "harness", "own", "two_filters")["score"]
    assert sorted(scores["text"].values.tolist()) == [f"two_filters-{n}" for n in range(fake.ITEMS)]
    assert {n[-1] for n in scores["text"].values[scores["half"].values == "A"]} == {"0", "2", "4"}
    assert scores["metric"].values.tolist() == ["exact_match,loose", "exact_match,strict"]
    assert (scores.sel(metric="exact_match,loose") == 1).all()
    assert (scores.sel(metric="exact_match,strict") == 0).all()


def test_lengths_reach_the_tasks_with_the_tokenizer_and_leave_room_for_an_answer(request_, tmp_path, monkeypatch):
    told = fake.Harness().install(monkeypatch)
    seen = []
    monkeypatch.setattr(fake.TaskManager, "all_tasks", property(lambda self: seen.append(files_of(self)) or ["ruler"]))
    store = asked_of(request_, tmp_path, "ruler", lengths=(512, 1024), limit=7)
    assert all("tokenizer.json" in files for files in seen)
    call = told.calls[0]
    assert call["manager"].metadata["max_seq_lengths"] == [512, 1024]
    assert (call["limit"], call["model"].max_length) == (7, 1024 + harness.ANSWER_ROOM)
    scores = store.load("drope", "harness", "own", "ruler")["score"]
    assert scores.notnull().sum("text").to_series().to_dict() == {"1024": 2, "4096": 0, "512": 5}


def files_of(manager):
    return {path.name for path in Path(manager.metadata["tokenizer"]).iterdir()}


def test_a_group_gives_the_items_of_all_its_tasks(request_, tmp_path, monkeypatch):
    fake.Harness().install(monkeypatch)
    scores = asked_of(request_, tmp_path, "group").load("rope", "harness", "own", "group")["score"]
    assert {name.rsplit("-", 1)[0] for name in scores["text"].values.tolist()} == {"two_filters", "ruler"}
    assert scores.sizes["text"] == 2 * fake.ITEMS


def test_a_changed_definition_of_a_task_of_ones_own_is_asked_again(request_, tmp_path, monkeypatch):
    told = fake.Harness().install(monkeypatch)
    own = tmp_path / "tasks"
    own.mkdir()
    for text in ("task: two_filters", "task: two_filters", "task: two_filters  # another prompt"):
        (own / "own.yaml").write_text(text)
        asked_of(request_, tmp_path / "out", "two_filters", folder=str(own))
    assert len(told.calls) == 2 * len(COLUMNS)


def test_another_pair_in_the_same_folder_is_refused_and_the_first_one_kept(request_, tmp_path, monkeypatch):
    fake.Harness().install(monkeypatch)
    out = tmp_path / "out"
    kept = [file.read_bytes() for file in asked_of(request_, out, "two_filters").files()]
    other = Request(pairs.of(request_.pair.rope, str(tiny.saved(tmp_path / "other", layers=2, seed=1))))
    with pytest.raises(InputError, match=r"expected results of .*choose another --out"):
        asked_of(other, out, "two_filters")
    assert [file.read_bytes() for file in Store(out).files()] == kept


def test_weights_trained_on_in_place_are_refused_in_a_folder_of_the_old_ones(tmp_path, monkeypatch):
    fake.Harness().install(monkeypatch)
    checkpoint = tiny.saved(tmp_path / "model", layers=2)
    request = Request(pairs.of(str(checkpoint), str(checkpoint)))
    asked_of(request, tmp_path / "out", "two_filters")
    tiny.saved(checkpoint, layers=2, seed=1)
    with pytest.raises(InputError, match="got other weights or settings; choose another --out"):
        asked_of(request, tmp_path / "out", "two_filters")


def test_a_folder_that_the_harness_began_names_its_pair_and_no_set_and_claims_read_the_scores(
    request_, tmp_path, monkeypatch
):
    fake.Harness().install(monkeypatch)
    store = asked_of(request_, tmp_path, "two_filters")
    assert store.read_run()["sets"] == []
    assert {record.verdict for record in judge(tmp_path)} <= {"not measured", "not applicable"}
    scores = natural(store, request_.pair).drope.measurement("two_filters", corpus="harness")
    assert scores.sizes["text"] == fake.ITEMS
    plan.check_same_pair(request_, store)  # measuring may go on there, on whatever texts


@pytest.mark.parametrize(
    ("task", "silent", "message"),
    [
        ("nope", False, "got 'nope'; see `lm_eval ls tasks`"),
        ("perplexity", False, "expected a number per item; got none of word_perplexity"),
        ("ruler", True, "expected LOCAL_RANK=0"),
    ],
)
def test_what_gives_no_score_is_one_line_with_the_remedy(request_, tmp_path, monkeypatch, task, silent, message):
    fake.Harness(silent=silent).install(monkeypatch)
    with pytest.raises(InputError, match=message):
        asked_of(request_, tmp_path, task)
    assert list(Store(tmp_path).files()) == []


@needs_harness
def test_the_fake_has_the_signatures_and_records_of_the_installed_harness():
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports] - optional
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports] - optional
    from lm_eval.result_schema import SampleResult  # pyright: ignore[reportMissingImports] - optional
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] - optional

    pairs_of = [(fake.Harness().simple_evaluate, simple_evaluate), (fake.HFLM, HFLM), (fake.TaskManager, TaskManager)]
    for mine, real in pairs_of:
        known = inspect.signature(real).parameters
        for name, parameter in inspect.signature(mine).parameters.items():
            assert parameter.default == known[name].default, (real, name)
    assert isinstance(TaskManager.all_tasks, property)
    assert set(fake.record(0, "none", {})) == set(SampleResult.__annotations__)
