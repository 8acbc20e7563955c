"""Records as text and back: every field of every record, none of another kind."""

import csv
import io
import json
from dataclasses import asdict, fields, replace

import pytest

from dropeact.axes import InputError
from dropeact.verdicts.records import Record, as_csv, as_json, by_experiment, finite, read_verdicts
from tests.bare_records import BARE

RECORDS = [
    replace(BARE, id="b", kind="direction", estimate=0.75, n=32, reason='a "reason", with a comma', exact=True),
    replace(BARE, id="a", kind="magnitude", published={"value": 1}, parts=[{"label": "query"}], skewness=-2.0),
]


def test_every_record_is_a_line_of_the_table_with_every_field_against_the_records():
    text = as_csv(RECORDS)
    assert "\r" not in text  # as every other file of the project ends its lines
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["id"] for line in lines] == ["b", "a"]
    assert list(lines[0]) == [f.name for f in fields(Record)]
    for line, record in zip(lines, RECORDS, strict=True):
        for name, value in asdict(record).items():
            whole = isinstance(value, dict | list)
            assert line[name] == ("" if value is None else json.dumps(value) if whole else str(value)), name


def test_records_are_read_back_as_they_were_written_in_their_order(tmp_path):
    (tmp_path / "verdicts.json").write_text(as_json(RECORDS, {"seed": 0}))
    assert read_verdicts(tmp_path / "verdicts.json") == (RECORDS, {"seed": 0})


def test_what_is_no_number_is_never_written():
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            as_json([replace(BARE, estimate=value)], {})


def test_records_of_an_older_version_lack_only_what_came_later(tmp_path):
    body = json.loads(as_json(RECORDS, {}))
    later = ("set", "exact", "label", "sign_flip", "skewness", "claim_hash", "remarks", "revised", "parts")
    for claim in body["claims"]:
        for name in later:
            del claim[name]
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps(body))
    read = read_verdicts(file)[0]
    assert (read[0].set, read[0].exact, read[1].parts, read[1].skewness) == ("core", False, [], None)
    del body["claims"][1]["unit"]
    file.write_text(json.dumps(body))
    with pytest.raises(InputError, match=r"expected 'unit' of a record in .* as str; got none; restore it"):
        read_verdicts(file)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("estimate", True, "float"),
        ("n", 1.5, "int"),
        ("n", True, "int"),
        ("exact", 1, "bool"),
        ("parts", {}, "list"),
        ("published", [], "dict"),
        ("region", {"scale": "rate", "low": None}, "'high' of the region of b in .* as float . None; got none"),
        ("region", {"scale": "rate", "low": None, "high": "1"}, "'high' of the region of b in .*; got '1'"),
    ],
)
def test_a_field_of_another_kind_is_named(field, value, wanted, tmp_path):
    body = json.loads(as_json(RECORDS, {}))
    body["claims"][0][field] = value
    (tmp_path / "verdicts.json").write_text(json.dumps(body))
    with pytest.raises(InputError, match=f"expected {wanted}" if field == "region" else f"{field!r}.* as .*{wanted}"):
        read_verdicts(tmp_path / "verdicts.json")


def test_a_whole_number_is_a_number_also_where_it_was_printed_without_a_point(tmp_path):
    body = json.loads(as_json(RECORDS, {}))
    body["claims"][0]["estimate"] = 1
    (tmp_path / "verdicts.json").write_text(json.dumps(body))
    assert read_verdicts(tmp_path / "verdicts.json")[0][0].estimate == 1


def test_experiments_are_ordered_by_their_number_and_names_come_last():
    assert sorted(["upstream", "10", "2", "extra"], key=by_experiment) == ["2", "10", "extra", "upstream"]


def test_what_is_not_finite_is_no_number():
    assert [finite(x) for x in (0.5, 2, float("inf"), float("-inf"), float("nan"))] == [0.5, 2.0, None, None, None]
