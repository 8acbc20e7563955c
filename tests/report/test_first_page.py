from dataclasses import replace
from math import inf, log, sqrt

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dropeact import published
from dropeact.audit import audit
from dropeact.estimators import ratio
from dropeact.estimators.prediction import published_effect, replication
from dropeact.report.distance import disagreements, distance, falls_short, outside
from dropeact.report.effects import replications, sentence
from dropeact.report.first_page import MOST, away, first_page, largest, shared, unlabelled
from dropeact.report.folder import write
from dropeact.report.overview_figure import overview_figure, rows
from dropeact.report.words import number
from dropeact.verdicts import judge
from tests.synthetic_results import results

MOVED = {"query_count": 0.5, "key_count": 0.8, "surge": 6.0, "sink": 0.6, "peak": 0.5, "entropy": 0.4, "massive": 0.5}
UNMOVED = MOVED | {"query_count": 1.2, "surge": 0.5, "peak": 1.0}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return results(tmp_path_factory.mktemp("planted"), plant={"drope": UNMOVED})


@pytest.fixture(scope="module")
def records(planted):
    judged = judge(planted)
    return [replace(judged[0], verdict="inconclusive", reason="about 90 texts would decide"), *judged[1:]]


@pytest.fixture(scope="module")
def text(planted, records):
    return write(planted, records=records).read_text()


def placed(record, region, estimate, low, high, *, n=16, exact=False):
    bounds = dict(zip(("scale", "low", "high"), region, strict=True))
    numbers = {"estimate": estimate, "low": low, "high": high, "n": n, "exact": exact}
    return replace(record, region=bounds, verdict="contradicted", reason="opposite", **numbers)


def test_distance_is_in_standard_deviations_against_hand_count(records):
    half = float(stats.t.isf(0.025, 15)) / sqrt(16)  # of a sample of 16 with a standard deviation of 1
    below = placed(records[0], ("difference", 5.0, None), 2.0, 2.0 - half, 2.0 + half)
    assert distance(below) == pytest.approx((-3.0, -3.0 - half, -3.0 + half))
    assert outside(below) == pytest.approx(3.0 - half)
    above = placed(records[0], ("difference", None, 5.0), 2.0, 2.0 - half, 2.0 + half)
    assert distance(above) == pytest.approx((3.0, 3.0 - half, 3.0 + half))
    assert outside(above) == 0.0


def test_distance_from_a_margin_is_largest_in_its_middle_against_hand_count(records):
    half = float(stats.t.isf(0.025, 15)) / sqrt(16)
    inside = placed(records[0], ("difference", -1.0, 1.0), 0.1, 0.1 - half, 0.1 + half)
    assert distance(inside) == pytest.approx((0.9, 0.9 - half, 1.0))


def test_distance_without_spread_is_infinite_and_without_bounds_none(records):
    exact = placed(records[0], ("difference", 5.0, None), 2.0, None, None, n=1, exact=True)
    assert distance(exact) == (-inf, -inf, -inf)
    assert distance(placed(records[0], ("ratio", 5.0, None), 2.0, None, None)) is None
    assert distance(replace(exact, estimate=None)) is None


def test_a_distance_that_no_text_varies_is_not_told_in_standard_deviations(records):
    varied = placed(records[0], ("difference", 5.0, None), 2.0, 1.9, 2.1)
    assert away(varied) == f"{number(outside(varied))} standard deviations over texts away"
    assert away(placed(records[0], ("difference", 5.0, None), 2.0, 2.0, 2.0)) == "the same of every text"


def test_a_denied_effect_goes_before_one_that_falls_short(records):
    near = replace(placed(records[0], ("difference", 5.0, None), 4.0, 3.9, 4.1), id="near")
    far = replace(placed(records[0], ("difference", 5.0, None), 2.0, 1.9, 2.1), id="far")
    short = replace(
        placed(records[0], ("difference", 5.0, None), 1.0, 0.9, 1.1), id="short", reason="query: effect too small"
    )
    held = replace(far, verdict="supported")
    assert [record.id for record in disagreements([short, near, held, far])] == ["far", "near", "short"]
    assert falls_short(short)
    assert not falls_short(far)


def test_the_first_page_says_every_verdict_once(records, text):
    page = first_page(records, [])
    chosen = [item.record for item in page.disagreements]
    told = listed_keys([*chosen, *page.further, *page.short, *page.supported, *page.inconclusive, *page.without])
    unmeasured = sum(count for _, count in page.unmeasured)
    assert sorted(told) == sorted(record.key for record in records if record.verdict != "not measured")
    assert len(told) + unmeasured == len(records)
    front = text.split("## Every record")[0]
    for record in records:
        if record.verdict != "not measured":
            assert record.statement in front, record.key
            assert record.estimate is None or unlabelled(record) in front, record.key


def listed_keys(listed):
    return [record.key for record in listed]


def test_the_first_page_names_the_most_important_disagreements_in_order(records, text):
    wrong = disagreements(records)[:MOST]
    assert len(wrong) == MOST
    for place, record in enumerate(wrong, 1):
        assert f"{place}. **{record.statement}**" in text


def test_an_inconclusive_record_says_what_would_decide(text):
    assert "**About 90 texts would decide.**" in text


def test_the_largest_findings_differ_most_and_stand_in_different_places():
    found = audit(published.path("audit.toml"), published.path("evidence.json"))
    shown = largest(found)
    assert len({finding.check.where for finding in shown}) == len(shown) == MOST
    factors = [abs(log(finding.ratio or 1.0)) for finding in shown]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == max(abs(log(finding.ratio)) for finding in found if finding.differs and finding.ratio)


def test_replication_stands_beside_printed_spreads_only_against_the_estimator(planted):
    found = replications(planted)
    assert {key.partition("[")[0] for key in found} == {
        "massive-query-reduction",
        "massive-key-reduction",
        "massive-value-unchanged",
    }
    query = found["massive-query-reduction[direction]"]
    assert not query.same_sign
    assert query.effect_ratio == pytest.approx((query.low + query.high - 2) / 2 / (901.4 / 1475.5 - 1))
    entry = published.claims()["massive-query-reduction"]
    effect = published_effect(entry.figures, entry.n, scale="ratio")
    assert effect is not None
    ours = ratio(per_text([6, 7, 6, 5]), per_text([10, 11, 10, 9]))
    assert sentence(replication(ours, effect)).startswith("published 0.611: the same sign, inside our 95 %")


def per_text(values):
    return xr.DataArray(np.asarray(values, float), dims="text", coords={"text": [f"t{i}" for i in range(len(values))]})


def test_the_overview_has_every_judged_record_and_the_same_bytes(records, tmp_path):
    figure = overview_figure(records, tmp_path)
    assert figure is not None
    first = figure.path.read_text()
    measured = [record for record in records if record.verdict != "not measured"]
    for record in measured:
        assert f">{record.id}<" in first, record.key
    figure.path.unlink()
    overview_figure(records, tmp_path)
    assert figure.path.read_text() == first
    assert len(rows(measured)) == len(measured) + len({record.experiment for record in measured})


def test_no_overview_without_a_measured_record(records, tmp_path):
    assert overview_figure([replace(record, verdict="not measured") for record in records], tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_records_on_the_same_numbers_and_those_revised_are_named_together(records):
    first = placed(records[0], ("difference", 5.0, None), 2.0, 1.9, 2.1)
    second, apart = replace(first, id="second", region=records[1].region), replace(first, id="apart", low=1.8)
    none = replace(first, id="none", estimate=None, low=None, high=None)
    assert [[r.id for r in members] for members in shared([first, apart, second, none, none])] == [[first.id, "second"]]
    revised = replace(first, id="revised", revised="The region was another.")
    assert [record.id for record in first_page([first, revised], []).revised] == ["revised"]
