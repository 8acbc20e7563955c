"""From two checkpoint folders to FINDINGS.md, as a user would: tiny models, the project's own corpus."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dropeact
from dropeact import pairs, report
from dropeact.axes import InputError
from dropeact.corpus.retrieval import DEPTHS, KEYS
from dropeact.measured import MissingMeasurement, natural
from dropeact.measurements import core, plan, preconditions
from dropeact.report.accept import accept
from dropeact.report.html import write_html
from dropeact.store import Store
from dropeact.verdicts import judge
from tests.checkpoints import tiny

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny.saved(tmp_path_factory.mktemp("rope"), layers=3)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return tiny.saved(tmp_path_factory.mktemp("drope"), layers=3, seed=1)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    words = tiny.documents(16, words=700, seed=5)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in words))
    return str(file)


@pytest.fixture(scope="module")
def measured(checkpoint, texts, tmp_path_factory):
    """The same checkpoint as both sides."""
    out = tmp_path_factory.mktemp("run")
    plan.measure_pair(plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts), out, progress=False)
    return out


def test_the_same_checkpoint_as_both_sides_supports_no_difference(measured):
    between = (
        "massive-query-reduction", "massive-key-reduction", "massive-layer1-surge", "massive-late-layers-fall",
        "disruption-reliance-ratio", "sink-rate-early-layers", "bos-norm-peak", "entropy-minimum",
    )  # fmt: skip
    records = {record.id: record for record in judge(measured)}
    assert [id for id in between if records[id].verdict == "supported"] == []
    assert records["sink-rate-equivalent"].verdict == "supported"
    assert records["gelberg-recalibration-recovers"].verdict == "supported"


def test_both_columns_of_one_checkpoint_hold_the_same_numbers(measured):
    tree = dropeact.open(measured)
    for name in ("observations", "disruption"):
        rope, drope = (tree[f"{column}/passages-first/{name}"].to_dataset() for column in ("rope", "drope"))
        xr.testing.assert_allclose(rope.drop_attrs(), drope.drop_attrs())


def test_dropping_the_rotation_changes_what_is_measured(measured):
    tree = dropeact.open(measured)
    nats = [tree[f"{c}/passages-first/observations"].to_dataset()["nats_mean"].values for c in ("rope", "dropped")]
    assert np.abs(nats[0] - nats[1]).min() > 0


def test_the_same_request_measures_nothing_again(measured, checkpoint, texts, monkeypatch):
    monkeypatch.setattr(core.observe, "observe", lambda *_, **__: pytest.fail("measured again"))
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts)
    plan.measure_pair(request, measured, progress=False)


def test_an_interrupted_run_resumes_and_equals_the_undisturbed_one(measured, checkpoint, texts, tmp_path, monkeypatch):
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts)
    real, calls = core.observe.observe, []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(core.observe, "observe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plan.measure_pair(request, tmp_path, progress=False)
    assert len(Store(tmp_path).files()) == 3  # rope A and B, dropped A
    monkeypatch.setattr(core.observe, "observe", real)
    plan.measure_pair(request, tmp_path, progress=False)
    for ours, theirs in zip(Store(tmp_path).files(), Store(measured).files(), strict=True):
        a, b = (xr.load_dataset(file, engine="h5netcdf").drop_attrs() for file in (ours, theirs))
        if "noise-floor" not in ours.name:
            xr.testing.assert_identical(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"arm": "separator"}, "the arm"), ({"dtype": "bfloat16"}, "the precision"), ({"texts": None}, "the corpus")],
)
def test_a_folder_of_other_results_is_refused_and_kept(measured, checkpoint, texts, change, message):
    before = sorted(file.stat().st_mtime_ns for file in Store(measured).files())
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), **({"texts": texts} | change))
    with pytest.raises(InputError, match=message):
        plan.measure_pair(request, measured, progress=False)
    assert sorted(file.stat().st_mtime_ns for file in Store(measured).files()) == before


def test_results_of_another_pair_are_refused(measured, checkpoint, other, texts):
    with pytest.raises(InputError, match="results of"):
        plan.measure_pair(plan.Request(pairs.of(str(checkpoint), str(other)), texts=texts), measured, progress=False)


def test_an_interrupted_run_keeps_another_pair_out_and_is_completed(checkpoint, other, texts, tmp_path, monkeypatch):
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts)
    with monkeypatch.context() as patch:
        patch.setattr(plan.Progress, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            plan.measure_pair(request, tmp_path, progress=False)
    assert len(Store(tmp_path).files()) == 1
    assert Store(tmp_path).read_run()["sets"] == []
    for reader in (accept, report.write, write_html):
        with pytest.raises(InputError, match="expected a run that has ended"):
            reader(tmp_path)
    with pytest.raises(InputError, match="results of"):
        plan.measure_pair(plan.Request(pairs.of(str(checkpoint), str(other)), texts=texts), tmp_path, progress=False)
    plan.measure_pair(request, tmp_path, progress=False)
    assert Store(tmp_path).read_run()["sets"] == ["core"]


def test_a_run_that_failed_before_its_first_cell_keeps_nobody_out(checkpoint, texts, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(plan.Progress, "describe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            plan.measure_pair(plan.Request(pairs.of(str(checkpoint), str(checkpoint))), tmp_path, progress=False)
    assert Store(tmp_path).read_run()["texts"] == 32
    plan.measure_pair(plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts), tmp_path, progress=False)
    assert Store(tmp_path).read_run()["texts"] == 16


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.fixture
def retrained(measured, tmp_path):
    """The measured pair as if its second model had been other weights then, with the set behaviour measured too."""
    shutil.copytree(measured, tmp_path / "run")
    store = Store(tmp_path / "run")
    run = store.read_run()
    old = run["checkpoints"] | {"drope": run["checkpoints"]["drope"] | {"sha256": "of the old weights"}}
    store.write_run(run | {"checkpoints": old, "sets": ["core", "behaviour"]})
    return store


def test_a_set_measured_before_the_weights_changed_is_no_longer_listed(retrained, checkpoint, texts, capsys):
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts)
    plan.measure_pair(request, retrained.directory, progress=False)
    assert retrained.read_run()["sets"] == ["core"]
    said = capsys.readouterr().err
    assert f"{checkpoint} changed since behaviour was measured in {retrained.directory}" in said
    assert said.endswith("measure again with --only=behaviour\n")


def test_a_changed_write_layer_of_the_pair_takes_earlier_sets_out_too(retrained, checkpoint, texts, capsys):
    pair = dataclasses.replace(pairs.of(str(checkpoint), str(checkpoint)), write_layer=1)
    run = retrained.read_run()
    retrained.write_run(run | {"checkpoints": run["checkpoints"] | {"drope": run["checkpoints"]["rope"]}})
    plan.measure_pair(plan.Request(pair, texts=texts), retrained.directory, progress=False)
    assert retrained.read_run()["sets"] == ["core"]
    assert "write_layer of the pair changed since behaviour" in capsys.readouterr().err


def test_a_set_of_unchanged_weights_stays_when_another_is_measured(retrained, checkpoint, texts, capsys):
    run = retrained.read_run()
    retrained.write_run(run | {"checkpoints": run["checkpoints"] | {"drope": run["checkpoints"]["rope"]}})
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts)
    plan.measure_pair(request, retrained.directory, progress=False)
    assert retrained.read_run()["sets"] == ["core", "behaviour"]
    assert capsys.readouterr().err == ""


def test_a_run_stopped_after_the_weights_changed_leaves_no_old_set_listed(retrained, checkpoint, texts, monkeypatch):
    def stopped(_measuring):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "tasks", stopped)
    request = plan.Request(pairs.of(str(checkpoint), str(checkpoint)), texts=texts)
    with pytest.raises(KeyboardInterrupt):
        plan.measure_pair(request, retrained.directory, progress=False)
    assert retrained.read_run()["sets"] == []


def test_cells_of_other_weights_than_run_json_names_are_missing_to_claims(retrained, checkpoint):
    measured = natural(retrained, pairs.of(str(checkpoint), str(checkpoint)))
    assert measured.rope.observations.sizes["text"] == 16
    with pytest.raises(MissingMeasurement, match="drope/observations: what is stored is of other weights"):
        _ = measured.drope.observations


def test_pytest_measures_two_folders_once_whatever_the_workers(checkpoint, other, texts, tmp_path):
    line = [sys.executable, "-m", "pytest", "-m", "claims", "-q", "-n", "2", "-p", "no:cacheprovider"]
    options = [f"--rope={checkpoint}", f"--drope={other}", f"--texts={texts}", f"--out={tmp_path / 'out'}"]
    run = subprocess.run([*line, *options], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert "verdicts: " in run.stdout, run.stdout + run.stderr
    assert run.returncode in (0, 1)
    stored = {file: file.stat().st_mtime_ns for file in Store(tmp_path / "out").files()}
    again = subprocess.run([*line, *options], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert again.returncode == run.returncode
    assert {file: file.stat().st_mtime_ns for file in Store(tmp_path / "out").files()} == stored


def test_texts_that_are_too_short_are_one_line_and_status_2(checkpoint, tmp_path):
    file = tmp_path / "short.jsonl"
    file.write_text(
        "".join(json.dumps({"text": f"{text} {i}"}) + "\n" for i, text in enumerate(tiny.documents(16, words=20)))
    )
    line = [sys.executable, "-m", "pytest", "-m", "claims", "-q", "-p", "no:cacheprovider", f"--rope={checkpoint}"]
    options = [f"--drope={checkpoint}", f"--texts={file}", f"--out={tmp_path / 'out'}"]
    run = subprocess.run([*line, *options], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert run.returncode == 2
    lines = [text for text in (run.stdout + run.stderr).splitlines() if "dropeact:" in text]
    assert len({text[text.index("dropeact:") :].rstrip(" !") for text in lines}) == 1  # pytest repeats it as a banner


def test_a_missing_checkpoint_is_one_line_and_status_2(checkpoint, tmp_path):
    line = [sys.executable, "-m", "pytest", "-m", "claims", "-q", "-p", "no:cacheprovider", f"--rope={checkpoint}"]
    options = [f"--drope={tmp_path / 'nowhere'}", f"--out={tmp_path / 'out'}"]
    run = subprocess.run([*line, *options], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert run.returncode == 2
    assert "nowhere" in run.stdout + run.stderr


def test_a_dry_run_says_what_it_would_cost(checkpoint, tmp_path):
    line = [sys.executable, "-m", "dropeact", "measure", f"--rope={checkpoint}", f"--drope={checkpoint}"]
    run = subprocess.run(
        [*line, f"--out={tmp_path}", "--dry-run"], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert [text.split()[0] for text in run.stdout.splitlines()] == [
        "cells",
        "tokens",
        "minutes",
        "memory",
        "downloads",
    ]
    assert not list(tmp_path.rglob("*.nc"))


def test_the_set_long_needs_lengths_and_gives_a_cell_per_length(checkpoint, texts, tmp_path):
    pair = pairs.of(str(checkpoint), str(checkpoint))
    with pytest.raises(InputError, match="--lengths=4096,8192"):
        plan.tasks(plan.Measuring(plan.Request(pair, texts=texts, sets="long"), Store(tmp_path)))
    request = plan.Request(pair, texts=texts, sets="long", lengths=plan.token_counts("1024, 512", "--lengths"))
    names = [task.cell.measurement for task in plan.tasks(plan.Measuring(request, Store(tmp_path)))]
    assert names[-8:] == ["long_retrieval.512", "long_retrieval.512", "long_retrieval.1024", "long_retrieval.1024"] * 2


def test_the_set_long_hides_as_many_numbers_at_each_depth_as_are_asked_for(checkpoint, texts, tmp_path):
    pair = pairs.of(str(checkpoint), str(checkpoint))
    few, all_ = (
        plan.Measuring(plan.Request(pair, texts=texts, sets="long", lengths=(512,), numbers=n), Store(tmp_path))
        for n in (4, KEYS)
    )
    task, whole = plan.tasks(few)[-1], plan.tasks(all_)[-1]
    measured = task.measure()
    assert np.unique(measured["needle_depth"], return_counts=True)[1].tolist() == [2] * len(DEPTHS)
    assert (task.cell.key != whole.cell.key, whole.passes) == (True, task.passes * KEYS // 4)
    few.store.save(task.cell, measured, {})
    longer = dataclasses.replace(few.request, lengths=(256,), numbers=KEYS)
    with pytest.raises(InputError, match=f"expected --numbers=4, as in the texts of 512 tokens in .*; got {KEYS}"):
        plan.measure_pair(longer, tmp_path)
    for fitting in (dataclasses.replace(longer, numbers=4), dataclasses.replace(longer, lengths=(256, 512))):
        preconditions.as_many_numbers(plan.Measuring(fitting, few.store))


def test_the_config_says_the_training_length_where_the_pair_does_not(checkpoint, texts, tmp_path):
    silent = pairs.of(str(checkpoint), str(checkpoint))
    length_of_config = json.loads((checkpoint / "config.json").read_text())["max_position_embeddings"]
    for pair, length, origin in (
        (silent, length_of_config, "config"),
        (dataclasses.replace(silent, training_length=64), 64, "pair"),
    ):
        run = plan.run_record(plan.Measuring(plan.Request(pair, texts=texts), Store(tmp_path)), (), ())
        assert (run["pair"]["training_length"], run["training_length_from"]) == (length, origin)


def test_a_length_that_is_no_number_is_refused_by_name():
    with pytest.raises(InputError, match="--lengths; got '4k'"):
        plan.token_counts("4k", "--lengths")
