import json

import pytest

from dropeact.pairs import Pair
from dropeact.report import side_by_side, summary
from dropeact.verdicts import judge, load_claims
from dropeact.verdicts.expected import Expected
from tests.synthetic_results import results

IDS = ("massive-query-reduction", "sink-rate-drope")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return results(tmp_path_factory.mktemp("planted"), plant={"drope": {"query_count": 0.5, "sink": 0.1}})


@pytest.fixture(autouse=True)
def few_claims(monkeypatch):
    def judge_few(directory, families=None):
        return judge(directory, claims={id: load_claims()[id] for id in IDS}, families=families)

    monkeypatch.setattr(summary, "judge", judge_few)
    monkeypatch.setattr(side_by_side, "judge", judge_few)


def test_the_summary_counts_and_names_what_is_unexpected(planted):
    text = summary.summary(planted)
    assert text.startswith("## Claims on Synthetic\n\n1 supported, 1 contradicted. 32 texts")
    assert "### Not as expected\n\n- `sink-rate-drope[direction]`: contradicted" in text
    assert "| massive-query-reduction | -39% | 0.5" in text


def test_a_long_summary_is_cut_below_its_limit_at_a_line_end():
    text = summary.bounded(["ü" * 100] * 1000, most=10_000)
    assert len(text.encode()) <= 10_000
    assert text.endswith("Cut here: the whole table is in FINDINGS.md.\n")
    assert set(text.split("\n…")[0].split("\n")) == {"ü" * 100}


def test_the_badge_is_what_a_shields_endpoint_reads(planted):
    body = json.loads(summary.badge(planted))
    assert body == {
        "schemaVersion": 1,
        "label": "claims on synthetic",
        "message": "1 supported · 1 contradicted",
        "color": "red",
    }


def test_the_badge_is_blue_where_every_verdict_is_as_expected(planted, monkeypatch):
    verdicts = {"massive-query-reduction[direction]": "supported", "sink-rate-drope[direction]": "contradicted"}
    monkeypatch.setattr(summary.expected, "load", lambda name: Expected(True, {}, verdicts))
    assert json.loads(summary.badge(planted))["color"] == "blue"


def test_against_a_baseline_what_it_had_is_expected_and_what_regressed_is_not(planted, tmp_path):
    better = results(tmp_path, plant={"drope": {"query_count": 0.5, "sink": 0.6}})
    assert json.loads(summary.badge(planted, planted))["color"] == "blue"
    assert "Not as expected" not in summary.summary(planted, planted)
    assert json.loads(summary.badge(planted, better))["color"] == "red"
    text = summary.summary(planted, better)
    assert "### Not as expected\n\n- `sink-rate-drope[direction]`: verdict changed" in text
    assert "- `massive-query-reduction" not in text


def test_a_verdict_that_no_claim_stands_behind_is_unexpected(planted, monkeypatch):
    verdicts = {"massive-query-reduction[direction]": "supported", "sink-rate-drope[direction]": "contradicted"}
    lock = Expected(True, {}, verdicts | {"gone[direction]": "supported"})
    monkeypatch.setattr(summary.expected, "load", lambda name: lock)
    assert "- `gone[direction]`: expected supported" in summary.summary(planted)
    assert json.loads(summary.badge(planted))["color"] == "red"


def test_several_pairs_stand_in_one_table(planted, tmp_path):
    other = results(tmp_path / "b", pair=Pair(name="other", rope="a", drope="b"), plant={"drope": {"query_count": 0.5}})
    lines = side_by_side.table([planted, other]).splitlines()
    assert lines[0] == f"| claim | published | Synthetic (`{planted.name}`) | other (`b`) |"
    row = next(line for line in lines if line.startswith("| sink-rate-drope "))
    assert row.index("✘ contradicted") < row.index("✔ supported")
    assert lines[-1] == "1 of 2 records that all have carry the same verdict."
