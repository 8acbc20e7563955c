"""run.json: what is written is read back, and what is not of its kind is named."""

import json

import pytest

from dropeact import run_file
from dropeact.axes import InputError
from tests.synthetic_results import PAIR, run_record

RUN = run_record(PAIR, 32)


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    run_file.write(tmp_path, RUN)
    assert run_file.read(tmp_path) == RUN | {"schema": run_file.SCHEMA}
    text = (tmp_path / run_file.NAME).read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(RUN | {"schema": 1})  # two runs differ where they say different things


def test_what_killed_processes_left_goes_and_other_files_stay(tmp_path):
    for name in ("run.json.tmp.1", "run.json.tmp.22", "run.json.bak"):
        (tmp_path / name).touch()
    run_file.write(tmp_path, RUN)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.json", "run.json.bak"]


def test_a_folder_without_a_run_is_told_to_measure(tmp_path):
    with pytest.raises(InputError) as refused:
        run_file.read(tmp_path)
    assert str(refused.value) == f"expected stored results with a run.json; got {tmp_path}; measure first"


@pytest.mark.parametrize(
    ("edits", "line"),
    [
        ({"sets": ["core", 1]}, "expected 'sets' in run as a list of names; got ['core', 1]; restore"),
        ({"sets": "core"}, "expected 'sets' in run as a list of names; got 'core'; restore"),
        ({"corpus": 1}, "expected 'corpus' in run as str | None; got 1; restore"),
        ({"texts": "32"}, "expected 'texts' in run as int; got '32'; restore"),
        ({"pair": RUN["pair"] | {"drope": 7}}, "expected 'drope' of 'pair' in run; got 7; restore"),
        ({"pair": {"name": "x"}}, "expected 'rope' of 'pair' in run; got none; restore"),
        (
            {"checkpoints": RUN["checkpoints"] | {"drope": {"adapter": "lora"}}},
            "expected the 'adapter' of 'drope' in run as dict; got 'lora'; restore",
        ),
    ],
)
def test_a_field_of_another_kind_is_named_with_what_it_holds(edits, line):
    with pytest.raises(InputError) as refused:
        run_file.checked_run(RUN | edits, "run", "restore")
    assert str(refused.value) == line


def test_what_a_run_may_leave_open_is_open():
    checkpoints = RUN["checkpoints"] | {"drope": {"adapter": None}, "rope": {"adapter": {"tokens": 1}}}
    open_run = RUN | {"corpus": None, "sets": [], "checkpoints": checkpoints}
    assert run_file.checked_run(open_run, "run") == open_run
    assert run_file.checked_run({k: v for k, v in RUN.items() if k != "sets"}, "run")["sets"] == ["core"]


def test_a_cell_of_this_schema_or_an_older_one_is_read_and_no_other(tmp_path):
    run_file.check_schema({"dropeact_schema": run_file.SCHEMA}, tmp_path)
    run_file.check_schema({"dropeact_schema": 0}, tmp_path)
    with pytest.raises(InputError, match="got a foreign"):
        run_file.check_schema({}, tmp_path)
    with pytest.raises(InputError, match=f"of schema {run_file.SCHEMA} or older; got {run_file.SCHEMA + 1} in"):
        run_file.check_schema({"dropeact_schema": run_file.SCHEMA + 1}, tmp_path)
