import errno
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dropeact
from dropeact import run_file
from dropeact import store as storage
from dropeact.axes import InputError
from dropeact.files import whole
from dropeact.joining import joined
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR, run_record


def data(half="A", texts=("a", "b"), value=1.0):
    n = len(texts)
    return xr.Dataset(
        {
            "score": (("text", "layer"), np.full((n, 3), value)),
            "norm": (("selected_on", "layer"), np.full((1, 3), value)),
            "dose": (("layer",), np.arange(3)),
        },
        coords={"text": list(texts), "half": ("text", [half] * n), "layer": range(3), "selected_on": [half]},
    )


def cell(half="A", **depends):
    return Cell("rope", "passages", "first", half, "observations", {"model": "x"} | depends)


def test_round_trip_keeps_every_value_and_label(tmp_path):
    store = Store(tmp_path)
    store.save(cell(), data(), {"seconds": 1.5})
    loaded = store.load("rope", "passages", "first", "observations")
    xr.testing.assert_equal(loaded, data())
    assert json.loads(loaded.attrs["dropeact_provenance"]) == {"seconds": 1.5}


def test_a_replaced_file_is_read_anew_and_a_changed_dataset_stays_the_readers_own(tmp_path):
    store = Store(tmp_path)
    store.save(cell(), data(value=1.0), {})
    first = store.load("rope", "passages", "first", "observations")
    first["score"] = first["score"] + 5
    assert float(store.load("rope", "passages", "first", "observations")["score"].max()) == 1.0
    store.save(cell(), data(value=2.0), {})
    assert float(store.load("rope", "passages", "first", "observations")["score"].max()) == 2.0


def test_halves_are_joined_along_text_and_selected_on(tmp_path):
    store = Store(tmp_path)
    store.save(cell("A"), data("A", ("a", "b"), 1.0), {})
    store.save(cell("B"), data("B", ("c", "d"), 2.0), {})
    both = store.load("rope", "passages", "first", "observations")
    assert both["score"].sel(text="d", layer=0) == 2.0
    assert both["norm"].sel(selected_on="A", layer=0) == 1.0
    assert both["half"].values.tolist() == ["A", "A", "B", "B"]
    assert both["dose"].values.tolist() == [0, 1, 2]


def condition_cell(name, half):
    return Cell("rope", "passages", "first", half, f"retrieval.{name}")


def asked(name, half, lengths):
    shape = (2, 1, len(lengths))
    return xr.Dataset(
        {
            "exact": (("text", "condition", "length"), np.ones(shape, np.float32)),
            "error": (("text", "condition", "length"), np.zeros(shape, np.int8)),
            "answer": (("text", "condition", "length"), np.full(shape, "7")),
        },
        coords={"text": [f"{half}1", f"{half}2"], "half": ("text", [half] * 2), "condition": [name], "length": lengths},
    )


def test_conditions_with_cells_of_their_own_are_read_as_one_and_what_lacks_is_marked(tmp_path):
    store = Store(tmp_path)
    for half in "AB":
        store.save(condition_cell("baseline", half), asked("baseline", half, [256, 512]), {})
        store.save(condition_cell("massive", half), asked("massive", half, [256]), {})
    both = store.load("rope", "passages", "first", "retrieval")
    assert dict(both["exact"].sizes) == {"text": 4, "condition": 2, "length": 2}
    assert both["half"].values.tolist() == ["A", "A", "B", "B"]
    lacking = both.sel(condition="massive", length=512)
    assert np.isnan(lacking["exact"]).all()
    assert (lacking["error"] == -1).all()
    assert (lacking["answer"] == "").all()
    assert both["error"].dtype.kind == "i"
    assert [leaf.path for leaf in dropeact.open(tmp_path).leaves] == ["/rope/passages-first/retrieval"]


def test_a_condition_that_lacks_a_half_is_missing_by_name_and_never_filled(tmp_path):
    store = Store(tmp_path)
    for half in "AB":
        store.save(condition_cell("baseline", half), asked("baseline", half, [256]), {})
    store.save(condition_cell("massive", "A"), asked("massive", "A", [256]), {})
    with pytest.raises(FileNotFoundError, match=r"^rope/passages-first/retrieval.massive-B$"):
        store.load("rope", "passages", "first", "retrieval")
    with pytest.raises(InputError, match=r"without rope/passages-first/retrieval.massive-B; the same measuring"):
        dropeact.open(tmp_path)


def test_lengths_with_cells_of_their_own_are_read_as_one(tmp_path):
    store = Store(tmp_path)
    for length in (8192, 16384):
        cell = Cell("rope", "passages", "first", "A", f"long_retrieval.{length}")
        store.save(cell, asked("baseline", "A", [length]), {})
    both = store.load("rope", "passages", "first", "long_retrieval")
    assert both["length"].values.tolist() == [8192, 16384]
    assert both["exact"].notnull().all()


def test_models_with_other_head_counts_share_a_store(tmp_path):
    store = Store(tmp_path)
    store.save(cell(), data(), {})
    wide = data().reindex(layer=range(5), fill_value=0)
    store.save(Cell("drope", "passages", "first", "A", "observations"), wide, {})
    tree = dropeact.open(tmp_path)
    sizes = {node.path: node.sizes["layer"] for node in tree.leaves}
    assert sizes == {"/rope/passages-first/observations": 3, "/drope/passages-first/observations": 5}


def test_a_cell_is_held_only_under_the_same_key(tmp_path):
    store = Store(tmp_path)
    store.save(cell(), data(), {})
    assert store.holds(cell())
    assert not store.holds(cell(model="y"))
    assert not store.holds(cell("B"))


@pytest.mark.parametrize("change", [{"model": "y"}, {"dtype": "bfloat16"}, {"code": "2"}])
def test_the_key_names_everything_the_value_depends_on(change):
    assert cell().key != cell(**change).key


def test_a_damaged_file_is_named_and_refused(tmp_path):
    store = Store(tmp_path)
    path = store.save(cell(), data(), {})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"damaged .*observations-A\.nc"):
        store.holds(cell())
    assert path.exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (PermissionError("[Errno 13] Unable to open file (name = 'a.nc', errno = 13)"), "permission denied"),
        (OSError(errno.EIO, "Input/output error"), "input/output error"),
        (OSError("Can't read data (errno = 5, error message = 'Input/output error')"), "input/output error"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
)
def test_a_file_that_the_system_does_not_let_be_read_is_not_called_damaged(error, reason, tmp_path):
    def refused(_path):
        raise error

    with pytest.raises(InputError, match=rf"^expected to read {tmp_path}/a\.nc; got {reason}; make it readable"):
        whole(refused, tmp_path / "a.nc")


def test_a_file_of_a_newer_hdf5_is_not_called_damaged(tmp_path):
    def newer(_path):
        raise KeyError("Unable to synchronously open object (bad version number for layout message)")

    with pytest.raises(InputError, match=rf"for HDF5 [\d.]+ or older; got a newer {tmp_path}/a\.nc; update h5py"):
        whole(newer, tmp_path / "a.nc")


@pytest.mark.parametrize(
    "text", ["Unable to open file (truncated file: eof = 5)", "read failed (errno = 0, 'Success')"]
)
def test_a_file_that_ends_too_early_is_damaged(text, tmp_path):
    def short(_path):
        raise OSError(text)

    with pytest.raises(InputError, match="got a damaged"):
        whole(short, tmp_path / "a.nc")


def test_a_run_json_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    Store(tmp_path).write_run(run_record(PAIR, 32))

    def refused(path, *_args):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(InputError, match=rf"^expected to read {tmp_path}/run\.json; got permission denied"):
        Store(tmp_path).read_run()


@pytest.mark.parametrize("called", ["listdir", "scandir"])
def test_a_folder_of_the_store_that_may_not_be_read_is_refused_and_never_taken_for_empty(tmp_path, monkeypatch, called):
    store = Store(tmp_path)
    folder = store.save(cell(), data(), {}).parent

    def refused(path="."):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, called, refused)
    readers = {
        "listdir": [lambda: store.load("rope", "passages", "first", "observations"), lambda: store.holds(cell())],
        "scandir": [store.files, store.tree],
    }
    for reader in readers[called]:
        with pytest.raises(InputError, match=rf"^expected to read ({folder}|{store.root}); got permission denied; "):
            reader()


def test_a_cell_copied_over_another_is_refused_by_both_names(tmp_path):
    store = Store(tmp_path)
    path = store.save(cell(), data(), {})
    other = store.save(Cell("rope", "passages", "first", "A", "phenomena"), data(), {})
    path.write_bytes(other.read_bytes())
    with pytest.raises(
        InputError, match=rf"in its own place; got rope/passages-first/phenomena-A\.nc as {path}; delete it"
    ):
        store.load("rope", "passages", "first", "observations")


def test_a_column_copied_over_another_is_refused_by_its_own_name(tmp_path):
    store = Store(tmp_path)
    stored = store.save(cell(), data(), {})
    shutil.copytree(store.root / "rope", store.root / "drope")
    copied = store.root / "drope" / stored.relative_to(store.root / "rope")
    with pytest.raises(InputError, match=rf"in its own place; got rope/.*/observations-A\.nc as {copied}; delete it"):
        store.load("drope", "passages", "first", "observations")


@pytest.mark.parametrize("place", ["x.nc", "rope/x.nc", "rope/noarm/x-A.nc", "rope/passages-first/x.nc"])
def test_a_stray_file_beside_the_cells_is_named(tmp_path, place):
    stray = Store(tmp_path).save(cell(), data(), {}).parents[2] / place
    stray.parent.mkdir(exist_ok=True)
    stray.touch()
    with pytest.raises(InputError, match=rf"expected cells alone in .*; got a foreign {stray}; move it away"):
        dropeact.open(tmp_path)


def test_a_foreign_file_is_named_and_refused(tmp_path):
    store = Store(tmp_path)
    path = tmp_path / "store" / cell().path
    path.parent.mkdir(parents=True)
    data().to_netcdf(path, engine="h5netcdf")
    with pytest.raises(InputError, match="foreign"):
        store.holds(cell())


def test_results_of_a_newer_schema_are_refused(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for module in (storage, run_file):
        monkeypatch.setattr(module, "SCHEMA", 99)
    store.save(cell(), data(), {})
    store.write_run({"pair": {}})
    for module in (storage, run_file):
        monkeypatch.setattr(module, "SCHEMA", 1)
    with pytest.raises(InputError, match="schema 1 or older; got"):
        store.load("rope", "passages", "first", "observations")
    with pytest.raises(InputError, match="update dropeact"):
        store.read_run()


@pytest.mark.parametrize("text", ["{", "[" * 100_000], ids=["cut", "nested"])
def test_a_damaged_run_json_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="damaged"):
        Store(tmp_path).read_run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected 'pair' in"),
        ("[1]", "other JSON"),
        ('{"schema": "x"}', "other JSON"),
        ('{"pair": []}', r"expected 'pair' in .*; got \[\]"),
        ('{"pair": {}, "checkpoints": {}}', "expected 'arm' in .*; got None"),
        (json.dumps(run_record(PAIR, 32) | {"versions": []}), "expected 'versions' in"),
        (json.dumps(run_record(PAIR, 32) | {"sets": "core"}), "expected 'sets' in .* as a list of names; got 'core'"),
        (json.dumps(run_record(PAIR, 32) | {"pair": {"name": "a"}}), "expected 'rope' of 'pair' in"),
        (json.dumps(run_record(PAIR, 32) | {"checkpoints": {"rope": {}}}), "expected 'dropped' of 'checkpoints' in"),
    ],
)
def test_a_run_json_that_says_too_little_is_refused_by_what_it_lacks(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Store(tmp_path).read_run()


def test_a_run_json_without_sets_measured_the_core_set(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({k: v for k, v in run_record(PAIR, 32).items() if k != "sets"}))
    assert Store(tmp_path).read_run()["sets"] == ["core"]


def test_a_full_disk_leaves_the_old_file_and_no_fragment(tmp_path, monkeypatch):
    store = Store(tmp_path)
    path = store.save(cell(), data(value=1.0), {})

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=rf"expected to write {path}; got no space left on device; free some space"):
        store.save(cell(), data(value=2.0), {})
    assert float(store.load("rope", "passages", "first", "observations")["score"].mean()) == 1.0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def hold(directory, ready, done):
    with Store(directory).locked():
        ready.set()
        done.wait(30)


def test_a_second_run_on_one_store_is_told_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.1)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready, done))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(InputError, match=f"process {holder.pid}"), Store(tmp_path).locked():
            pass
    finally:
        done.set()
        holder.join()


def test_an_empty_folder_has_no_results(tmp_path):
    with pytest.raises(InputError, match="measure first"):
        dropeact.open(tmp_path)


def test_joining_one_half_returns_it(tmp_path):
    xr.testing.assert_identical(joined([data()]), data())


def test_what_a_killed_process_left_of_a_cell_goes_with_its_next_writing(tmp_path):
    store = Store(tmp_path)
    path = store.save(cell(), data(), {})
    leftover, other = path.with_name(f"{path.name}.tmp.999999"), path.with_name("other-A.nc.tmp.999999")
    leftover.write_bytes(b"half a file")
    other.write_bytes(b"another process is writing this")
    store.save(cell(), data(value=2.0), {})
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, other.name])
