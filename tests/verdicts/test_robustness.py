"""The strip judges a claim as if another setting had been declared, and leaves the declared verdict alone."""

import json
import shutil
from dataclasses import replace

import pytest

from dropeact import netcdf
from dropeact.axes import COLUMNS, Column
from dropeact.measured import natural
from dropeact.store import Cell, Store
from dropeact.verdicts import judge, load_claims, robustness
from tests.synthetic_results import PAIR, results

CHOSEN = ("massive-query-reduction", "sink-rate-drope", "entropy-minimum", "attention-sink-heads", "gu-sink-rate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Counts of DroPE fall below RoPE's only where they are read as attended and compared with lambda 7 or more."""
    plant: dict[Column, dict[str, float]] = {"drope": {"sink": 0.35}}
    directory = results(
        tmp_path_factory.mktemp("r"), same=True, plant=plant, cells=("observations",), corpora=("passages",)
    )
    store = Store(directory)
    for half in "AB":
        path = store.root / "drope" / f"passages-{PAIR.primary_arm}" / f"observations-{half}.nc"
        data = store.load("drope", "passages", PAIR.primary_arm, "observations")
        mine = data.isel(text=data["half"].values == half).sel(selected_on=[half])
        lower = (mine["threshold"] >= 7) & (mine["site"] == "attended") & (mine["tensor"] == "query")
        counts = mine["massive_count"].where(~lower, mine["massive_count"] // 2)
        path.unlink()
        mine["massive_count"] = counts.transpose(*mine["massive_count"].dims)
        store.save(Cell("drope", "passages", PAIR.primary_arm, half, "observations"), mine, {})
    return directory


@pytest.fixture(scope="module")
def strips(folder):
    claims = {id: load_claims()[id] for id in CHOSEN}
    return robustness.strips(natural(Store(folder), PAIR), claims)


def test_each_claim_is_varied_along_what_it_asks_for_and_no_more(strips):
    counted, sinks = ("site", "mean_over", "massive_threshold"), ("sink_length", "sink_threshold")
    assert {id: strip.varied for id, strip in strips.items()} == {
        "massive-query-reduction": counted,
        "sink-rate-drope": sinks,
        "attention-sink-heads": ("sink_threshold",),
        "gu-sink-rate": sinks,
    }


def test_planted_dependence_on_threshold_and_site_is_found(strips):
    strip = strips["massive-query-reduction"]
    found = {
        (s.protocol.site, s.protocol.mean_over, s.protocol.massive_threshold)
        for s in strip.settings
        if s.verdict == "supported"
    }
    lambdas = (7.0, 10.0)
    assert {(m, v) for site, m, v in found if site == "attended" and v in lambdas} == {
        (m, v) for m in ("layer", "head") for v in lambdas
    }
    assert not any(site == "projected" or value < 7 for site, _, value in found)
    curve = strip.along("massive_threshold")
    assert [s.protocol.massive_threshold for s in curve] == [3, 4, 5, 6, 7, 8, 9, 10]
    values = [s.shown.value for s in curve if s.shown is not None]
    assert max(values[4:]) < 0.6 < 0.9 < min(values[:4])
    assert strip.along("sink_threshold") == []


def test_sinks_below_the_planted_score_are_found_and_none_above(strips):
    curve = strips["sink-rate-drope"].along("sink_threshold")
    assert [s.protocol.sink_threshold for s in curve] == list(robustness.TAUS)
    assert [s.verdict for s in curve] == ["supported"] * 3 + ["contradicted"] * 2


def test_the_declared_setting_comes_first_and_agrees_with_the_record(folder, strips):
    records = judge(folder, claims={"sink-rate-drope": load_claims()["sink-rate-drope"]})
    declared = strips["sink-rate-drope"].settings[0]
    assert declared.protocol == natural(Store(folder), PAIR).protocol
    assert declared.shown is not None
    assert (declared.verdict, declared.shown.value) == (records[0].verdict, records[0].estimate)


def test_another_stored_arm_is_judged_along_the_thresholds(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "r")
    store, ids = Store(tmp_path / "r"), ("entropy-minimum", "sink-rate-drope")
    claims = {id: load_claims()[id] for id in ids}
    assert set(robustness.strips(natural(store, PAIR), claims)) == {"sink-rate-drope"}
    for column in COLUMNS:
        for file in (store.root / column / f"passages-{PAIR.primary_arm}").iterdir():
            data = netcdf.read(file)
            named = Cell(*json.loads(data.attrs["dropeact_cell"]))
            store.save(replace(named, arm="separator"), data, {})
    found = robustness.strips(natural(store, PAIR), claims)
    assert [s.protocol.arm for s in found["entropy-minimum"].settings] == [PAIR.primary_arm, "separator"]
    elsewhere = [s for s in found["sink-rate-drope"].settings if s.protocol.arm == "separator"]
    assert {s.protocol.sink_length for s in elsewhere} == {natural(store, PAIR).protocol.sink_length}
    assert [s.verdict for s in elsewhere] == ["supported"] * 3 + ["contradicted"] * 2


def test_an_arm_without_what_a_claim_needs_is_not_varied(folder):
    measured = natural(Store(folder), PAIR)
    nowhere = measured.under(replace(measured.protocol, arm="separator"))
    by_arm = {PAIR.primary_arm: measured, "separator": nowhere}
    assert robustness.strip(load_claims()["entropy-minimum"], by_arm, robustness.stored_values(measured)) is None


def test_a_view_under_another_protocol_reads_nothing_again(folder):
    measured = natural(Store(folder), PAIR)
    _ = measured.rope.observations
    other = measured.under(replace(measured.protocol, sink_threshold=0.5))
    assert other.rope.observations is measured.rope.observations
    assert other.rope.sink_rate().sum() < measured.rope.sink_rate().sum()
