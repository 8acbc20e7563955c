"""What names a cell, what lies beside it, and in which order its parts are read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from dropeact import store as storage
from dropeact.axes import InputError
from dropeact.files import write_dataset
from dropeact.joining import beside, joined
from dropeact.store import Cell, Store, canonical

CELL = ("rope", "passages", "first", "A", "observations")


@pytest.mark.parametrize("part", ["column", "corpus", "arm", "half", "measurement"])
def test_the_key_of_a_cell_names_its_place_by_every_part(part):
    other = replace(Cell(*CELL), **{part: "other"})
    assert Cell(*CELL).key == Cell(*CELL).key != other.key
    assert Cell(*CELL).path != other.path


def test_the_key_of_a_cell_names_the_schema_and_no_order(monkeypatch):
    one, other = Cell(*CELL, {"a": 1, "b": {"c": 2, "d": 3}}), Cell(*CELL, {"b": {"d": 3, "c": 2}, "a": 1})
    before = one.key
    assert before == other.key
    monkeypatch.setattr(storage, "SCHEMA", 2)
    assert one.key != before


def test_equal_values_have_equal_text_and_what_is_no_number_has_none():
    assert canonical({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})


def test_a_stored_cell_says_its_key_its_place_and_all_that_it_depends_on(tmp_path):
    store, cell = Store(tmp_path), Cell(*CELL, {"model": "x"})
    path = store.save(cell, xr.Dataset({"x": 1.0}), {"seconds": 2})
    assert path == tmp_path / "store" / "rope" / "passages-first" / "observations-A.nc"
    attrs = store.load(*CELL[:3], CELL[4]).attrs
    assert (attrs["dropeact_schema"], attrs["dropeact_key"]) == (storage.SCHEMA, cell.key)
    assert json.loads(attrs["dropeact_cell"]) == list(CELL)
    assert json.loads(attrs["dropeact_depends"]) == {"model": "x"}
    assert json.loads(attrs["dropeact_provenance"]) == {"seconds": 2}


def test_a_measurement_is_not_taken_for_another_whose_name_it_begins(tmp_path):
    store = Store(tmp_path)
    for number, name in enumerate(["noise", "noise-floor", "noise_more", "noise.one"]):
        store.save(Cell(*CELL[:4], name), xr.Dataset({"x": float(number)}), {})
    assert float(store.load(*CELL[:3], "noise-floor")["x"]) == 1
    assert float(store.load(*CELL[:3], "noise_more")["x"]) == 2
    with pytest.raises(FileNotFoundError, match="rope/passages-first/more"):
        store.load(*CELL[:3], "more")


def test_a_cell_that_does_not_name_its_place_is_read_where_it_lies(tmp_path):
    path = tmp_path / "store" / Cell(*CELL).path
    write_dataset(path, xr.Dataset({"x": 3.0}, attrs={"dropeact_schema": 1}))  # as older results have it
    assert float(Store(tmp_path).load(*CELL[:3], CELL[4])["x"]) == 3


def test_halves_of_other_shapes_are_not_joined():
    def half(name, layers):
        coords = {"text": [name], "layer": range(layers)}
        return xr.Dataset({"x": (("text", "layer"), np.ones((1, layers)))}, coords=coords)

    assert joined([half("a", 2), half("b", 2)]).sizes == {"text": 2, "layer": 2}
    with pytest.raises(ValueError, match="layer"):
        joined([half("a", 2), half("b", 3)])


def test_files_are_the_cells_alone_in_order(tmp_path):
    store = Store(tmp_path)
    assert store.files() == []
    paths = [store.save(Cell(column, *CELL[1:]), xr.Dataset({"x": 1.0}), {}) for column in ("rope", "drope")]
    paths[0].with_name("observations-A.nc.tmp.7").touch()  # a process is writing it
    assert store.files() == sorted(paths)


def test_a_folder_names_its_holder_while_it_is_held_and_no_longer(tmp_path):
    store = Store(tmp_path / "new")
    for name in (".lock", ".lock.1"):
        holder = tmp_path / "new" / f"{name}.holder"
        with store.locked(name):
            assert holder.read_text().startswith("process ")
        assert not holder.exists()
    with pytest.raises(ZeroDivisionError), store.locked():
        raise ZeroDivisionError
    with store.locked():  # the lock of a run that failed is free
        assert (tmp_path / "new" / ".lock.holder").is_file()


def test_who_holds_a_folder_without_saying_so_is_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.01)
    store = Store(tmp_path)
    with store.locked():
        (tmp_path / ".lock.holder").unlink()
        with pytest.raises(InputError, match="got another process measuring there; wait"), store.locked():
            pass


def part(length, condition="baseline"):
    values = np.full((1, 1, 1), length)
    dims = ("text", "condition", "length")
    return xr.Dataset({"x": (dims, values)}, coords={"text": ["a"], "condition": [condition], "length": [length]})


def test_lengths_are_joined_from_short_to_long_however_they_are_named():
    found = beside([part(16384), part(512), part(8192), part(4096)])
    assert found["length"].values.tolist() == found["x"].values.ravel().tolist() == [512, 4096, 8192, 16384]
    assert found["x"].dtype.kind == "i"


def test_true_and_false_stay_so_where_none_lacks():
    parts = [part(512).assign(right=("text", [True])), part(256).assign(right=("text", [True]))]
    assert beside(parts)["right"].dtype == bool


def test_conditions_are_joined_in_the_order_of_their_files_also_where_lengths_differ():
    found = beside([part(512, "massive"), part(256, "baseline")])
    assert found["condition"].values.tolist() == ["massive", "baseline"]
    by_condition = found["x"].transpose("text", "condition", "length")
    assert by_condition.sel(length=[256, 512]).values.tolist() == [[[-1, 512], [256, -1]]]
