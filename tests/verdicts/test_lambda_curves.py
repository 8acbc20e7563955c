"""Claims that are judged at other lambdas than 5 where those were measured: planted worlds that turn with lambda."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dropeact.axes import COLUMNS, Column
from dropeact.measured import MissingMeasurement, natural
from dropeact.report import sensitivity
from dropeact.store import Cell, Store
from dropeact.verdicts import judge, load_claims, robustness
from tests.synthetic_results import PAIR, results

DISRUPTION = (
    "disruption-rope-collapses", "disruption-drope-degrades", "disruption-reliance-ratio", "disruption-significance",
    "disruption-random-harmless", "disruption-consistent-across-text-types",
)  # fmt: skip
ELSEWHERE = ("bos-mlp-ablation-rope", "bos-v-ablation-similar")
CHOSEN = (*DISRUPTION, *ELSEWHERE, "jin-low-frequency")
CELLS = ("observations", "disruption", "phenomena", "ablation", "effects")
Plant = dict[Column, dict[str, float]]
TURNING: Plant = {"rope": {"harmless_from": 7, "slow": 0.8, "fast_from": 6}, "drope": {"massive": 0.5}}


def strips_of(folder):
    return robustness.strips(natural(Store(folder), PAIR), {id: load_claims()[id] for id in CHOSEN})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("r")
    return results(made, plant=TURNING, cells=(*CELLS, "disruption_by_threshold"), corpora=("passages",))


@pytest.fixture(scope="module")
def strips(folder):
    return strips_of(folder)


@pytest.fixture(scope="module")
def older(folder, tmp_path_factory):
    """The same results without what other lambdas need."""
    made = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(folder, made)
    store = Store(made)
    for file in store.root.rglob("disruption_by_threshold-?.nc"):
        file.unlink()
    for column in COLUMNS:
        both = store.load(column, "passages", PAIR.primary_arm, "phenomena").drop_dims("threshold")
        for half in "AB":
            plain = both.isel(text=both["half"].values == half)
            store.save(Cell(column, "passages", PAIR.primary_arm, half, "phenomena"), plain, {})
    return made


def verdicts(strip):
    return {s.protocol.massive_threshold: s.verdict for s in strip.along("massive_threshold")}


def test_disruption_is_judged_at_each_stored_lambda(strips):
    assert {strips[id].varied for id in DISRUPTION} == {("massive_threshold",)}
    for id in DISRUPTION:
        assert [s.protocol.massive_threshold for s in strips[id].settings] == [5, 3, 4, 7, 10], id
        assert list(verdicts(strips[id])) == [3, 4, 5, 7, 10]
        assert "untestable" not in [s.verdict for s in strips[id].settings], id
    turns = dict(zip((3, 4, 5, 7, 10), ["supported"] * 3 + ["contradicted"] * 2, strict=True))
    for id in ("disruption-rope-collapses", "disruption-reliance-ratio", "disruption-significance"):
        assert verdicts(strips[id]) == turns, id
    for id in ("disruption-drope-degrades", "disruption-random-harmless"):
        assert set(verdicts(strips[id]).values()) == {"supported"}, id
    values = [s.shown.value for s in strips["disruption-reliance-ratio"].along("massive_threshold") if s.shown]
    np.testing.assert_allclose(values, [1, 1, 1, -0.45, -0.45], atol=0.02)  # 1.5 - 0.5, and 0.05 - 0.5


def test_low_frequency_share_follows_lambda_against_hand_count(folder, strips):
    strip = strips["jin-low-frequency"]
    assert strip.varied == ("massive_threshold",)
    points = {s.protocol.massive_threshold: s for s in strip.along("massive_threshold")}
    assert list(points) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert [s.verdict for s in points.values()] == ["supported"] * 3 + ["contradicted"] * 5
    values = [s.shown.value for s in points.values() if s.shown]
    np.testing.assert_allclose(values, [0.8] * 3 + [0.2] * 5, atol=0.01)
    assert values[0] == pytest.approx(values[2], rel=1e-12)
    (record,) = judge(folder, claims={"jin-low-frequency": load_claims()["jin-low-frequency"]})
    assert record.estimate == values[2]


def test_what_does_not_depend_on_lambda_is_not_varied(strips):
    assert not set(ELSEWHERE) & set(strips)


def test_strip_and_figure_show_the_stored_lambdas(strips, tmp_path):
    assert sensitivity.line(strips["disruption-rope-collapses"]) == "λ = 3, 4, 5, 7, 10: ✔✔✔✘✘"
    assert sensitivity.line(strips["jin-low-frequency"]) == "λ = 3, 4, 5, 7, 10: ✔✔✔✘✘"
    figure = sensitivity.sensitivity_figure(strips, tmp_path)
    assert figure is not None
    assert "one draw" in figure.caption
    assert all(id in figure.path.read_text("utf-8") for id in (*DISRUPTION, "jin-low-frequency"))


def test_older_results_are_judged_as_before_and_have_no_strip(folder, older):
    assert strips_of(older) == {}
    claims = {id: load_claims()[id] for id in CHOSEN}
    then, now = ([(r.id, r.verdict, r.estimate, r.low) for r in judge(made, claims=claims)] for made in (older, folder))
    assert then == now


def test_a_claim_is_varied_where_every_model_that_it_compares_was_measured(folder, older, tmp_path):
    shutil.copytree(older, tmp_path / "run")
    arm, name = PAIR.primary_arm, "disruption_by_threshold"
    store = Store(tmp_path / "run")
    rope = Store(folder).load("rope", "passages", arm, name).sel(threshold=[4.0, 7.0])
    for half in "AB":
        store.save(Cell("rope", "passages", arm, half, name), rope.isel(text=rope["half"].values == half), {})
    found = strips_of(tmp_path / "run")
    assert set(found) == {"disruption-rope-collapses"}
    assert verdicts(found["disruption-rope-collapses"]) == {4: "supported", 5: "supported", 7: "contradicted"}


def test_losses_at_another_lambda_are_stored_ones_or_missing_by_name(folder, older):
    declared = natural(Store(folder), PAIR)
    other = declared.under(replace(declared.protocol, massive_threshold=7.0))
    stored = other.rope.disruption_by_threshold["nats"].sel(threshold=7.0, drop=True)
    np.testing.assert_array_equal(other.rope.nats("massive"), stored.sel(condition="massive"))
    np.testing.assert_array_equal(other.rope.nats("random"), stored.sel(condition="random-0"))
    for condition in ("baseline", "first-mlp"):
        np.testing.assert_array_equal(other.rope.nats(condition), declared.rope.nats(condition))
    for condition in ("norm-matched", "next-largest"):  # of lambda = 5
        assert declared.rope.nats(condition).notnull().all()
        with pytest.raises(MissingMeasurement, match=f"of the condition {condition}"):
            other.rope.nats(condition)
    with pytest.raises(MissingMeasurement, match=r"of the threshold 6\.0"):
        declared.under(replace(declared.protocol, massive_threshold=6.0)).rope.nats("massive")
    without = natural(Store(older), PAIR)
    at_seven = without.under(replace(without.protocol, massive_threshold=7.0)).rope
    with pytest.raises(MissingMeasurement, match="rope/passages-first/disruption_by_threshold"):
        at_seven.nats("massive")
    with pytest.raises(MissingMeasurement, match="by rotary pair at the threshold 7"):
        at_seven.rotary_counts()
