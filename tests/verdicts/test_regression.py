import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dropeact.axes import InputError
from dropeact.estimators import Estimate
from dropeact.estimators.regions import Scale
from dropeact.pairs import Pair
from dropeact.report.diff import as_json, as_markdown, as_text
from dropeact.store import Store
from dropeact.verdicts import load_claims
from dropeact.verdicts.movement import _sampled as sampled
from dropeact.verdicts.movement import contributions, paired, recorded_movement, welch
from dropeact.verdicts.records import as_json as verdicts_json
from dropeact.verdicts.regression import compare, compared
from dropeact.verdicts.sides import baseline, current
from tests.synthetic_results import PAIR, results, run_record

MOVED = {"query_count": 0.5, "key_count": 0.8, "surge": 6.0, "sink": 0.6, "peak": 0.5, "entropy": 0.4, "massive": 0.5}


IDS = ("massive-query-reduction", "massive-value-unchanged", "disruption-rope-collapses")
QUERY, COLLAPSE = "massive-query-reduction[direction]", "disruption-rope-collapses[direction]"


@pytest.fixture(scope="module")
def claims():
    known = load_claims()
    return {id: known[id] for id in IDS}  # the whole catalogue takes seconds


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    return results(tmp_path_factory.mktemp("accepted"), plant={"drope": MOVED})


@pytest.fixture(scope="module")
def before(accepted, claims):
    return current(accepted, claims)


@pytest.fixture(scope="module")
def after(tmp_path_factory, claims):
    folder = results(tmp_path_factory.mktemp("changed"), plant={"drope": MOVED | {"query_count": 1.2}})
    return current(folder, claims)


def one(comparison, key):
    return next(change for change in comparison.changes if change.key == key)


def with_record(side, key, **edits):
    return replace(side, records=side.records | {key: replace(side.records[key], **edits)})


def without_record(side, key):
    return replace(side, records={name: record for name, record in side.records.items() if name != key})


def with_outcome(side, key, edit):
    item = side.evaluated[key]
    return replace(side, evaluated=side.evaluated | {key: replace(item, outcome=edit(item.outcome))})


def estimate(a, b=None, scale: Scale = "difference"):
    a = np.asarray(a, float)
    return Estimate(a, np.ones_like(a) if b is None else np.asarray(b, float), scale, "nats")


def test_a_run_regresses_nothing_against_itself(before):
    comparison = compared(before, before)
    assert comparison.status == 0
    assert {change.state for change in comparison.changes} == {"same"}
    assert comparison.provenance == ()


def test_a_planted_change_is_named_with_both_verdicts_and_estimates(before, after):
    comparison = compared(before, after)
    change = one(comparison, QUERY)
    assert comparison.status == 1
    assert (change.state, change.verdicts) == ("verdict changed", ("supported", "contradicted"))
    assert change.movement is not None
    assert change.movement.paired
    assert change.movement.beyond
    assert f"{QUERY}: supported → contradicted; 0.719" in as_text(comparison)
    assert f"| {QUERY} | verdict changed | supported → contradicted |" in as_markdown(comparison)


def test_an_improvement_is_a_change_too(before, after):
    assert one(compared(after, before), QUERY).state == "verdict changed"


def test_a_quantity_that_moved_within_its_verdict_is_named_and_passes(before):
    stronger = with_outcome(before, QUERY, lambda e: replace(e, numerator=0.9 * e.numerator))
    comparison = compared(before, stronger)
    assert one(comparison, QUERY).state == "moved"
    assert comparison.status == 0
    assert f"moved: {QUERY}" in as_text(comparison)


def test_fewer_texts_regress_and_are_compared_unpaired(before):
    def halved(outcome):
        return replace(outcome, numerator=outcome.numerator[:20], denominator=outcome.denominator[:20])

    comparison = compared(before, with_outcome(before, QUERY, halved))
    change = one(comparison, QUERY)
    assert comparison.status == 1
    assert change.state == "fewer texts"
    assert change.notes == ("20 texts, the baseline has 32",)
    assert change.movement is not None
    assert not change.movement.paired


def test_a_record_that_estimates_nothing_has_not_fewer_texts(before):
    untested = with_record(before, QUERY, verdict="untestable", reason="a control failed")
    nothing = with_record(before, QUERY, verdict="untestable", reason="a control failed", n=0)
    item = nothing.evaluated[QUERY]
    nothing = replace(nothing, evaluated=nothing.evaluated | {QUERY: replace(item, outcome=None)})
    assert one(compared(untested, nothing), QUERY).state == "same"
    assert not any("texts" in note for note in one(compared(before, nothing), QUERY).notes)


def test_other_texts_are_compared_unpaired(before):
    for edit in ({"corpus": "1" * 64}, {"arm": "bos"}):
        movement = one(compared(before, replace(before, run=dict(before.run) | edit)), QUERY).movement
        assert movement is not None
        assert not movement.paired


def test_a_verdict_without_its_claim_is_orphaned(before):
    comparison = compared(before, without_record(before, QUERY))
    assert comparison.status == 1
    assert one(comparison, QUERY).state == "orphaned verdict"
    assert "give --claims=FILE" in as_text(comparison)


def test_a_claim_that_ends_with_an_error_now_regresses_and_one_that_always_did_does_not(before):
    control = with_record(before, QUERY, verdict="untestable", reason="a control failed")
    broken = with_record(before, QUERY, verdict="untestable", reason="error: KeyError: 'gone'")
    assert one(compared(control, broken), QUERY).state == "verdict changed"
    assert one(compared(broken, broken), QUERY).state == "same"


def test_a_claim_that_the_baseline_never_judged_is_new(before):
    comparison = compared(without_record(before, QUERY), before)
    assert comparison.status == 0
    assert one(comparison, QUERY).state == "new claim"


def test_a_lost_measurement_regresses_and_a_gained_one_does_not(before, tmp_path, claims):
    bare = results(tmp_path, plant={"drope": MOVED}, cells=("observations",))
    bare = current(bare, claims)
    assert one(compared(before, bare), COLLAPSE).state == "no longer measured"
    assert one(compared(bare, before), COLLAPSE).state == "missing baseline"
    assert one(compared(bare, bare), COLLAPSE).state == "not measured"
    assert one(compared(without_record(before, COLLAPSE), bare), COLLAPSE).state == "not measured"
    assert compared(before, bare).status == 1
    assert compared(bare, before).status == 0


def test_the_accepted_verdict_counts_and_a_baseline_judged_otherwise_today_is_said(before):
    change = one(compared(with_record(before, QUERY, verdict="inconclusive", claim_hash="older"), before), QUERY)
    assert change.state == "verdict changed"
    assert "the baseline itself is supported when it is judged today" in change.notes
    assert "the claim changed since the baseline" in change.notes


def test_a_changed_region_is_said_in_words_and_that_of_another_part_is_not(before):
    region = before.records[QUERY].region
    half, margin = region | {"low": None, "high": 0.5}, region | {"low": -1.0, "high": 0.25}
    new = with_record(before, QUERY, region=half)
    change = one(compared(with_record(before, QUERY, region=margin), new), QUERY)
    assert f"the region changed from {region['scale']} in [-1, 0.25] to {region['scale']} <= 0.5" in change.notes
    change = one(compared(with_record(before, QUERY, region=margin, label="query"), new), QUERY)
    assert not any("region" in note for note in change.notes)


def test_a_baseline_of_verdicts_alone_is_compared_by_its_intervals(before, after, tmp_path, claims):
    (tmp_path / "verdicts.json").write_text(verdicts_json(list(before.records.values()), dict(before.run)))
    change = one(compared(baseline(tmp_path, claims), after), QUERY)
    assert change.state == "verdict changed"
    assert change.movement is not None
    assert (change.movement.paired, change.movement.beyond) == (False, True)


def test_the_verdicts_that_were_accepted_go_before_what_the_store_gives_now(accepted, before, tmp_path, claims):
    shutil.copytree(accepted, tmp_path / "old")
    stored = with_record(before, QUERY, verdict="contradicted").records
    (tmp_path / "old" / "verdicts.json").write_text(verdicts_json(list(stored.values()), dict(before.run)))
    side = baseline(tmp_path / "old", claims)
    assert (side.records[QUERY].verdict, side.today[QUERY].verdict) == ("contradicted", "supported")


def test_what_was_measured_otherwise_comes_first_and_weights_before_versions(before):
    drope = before.run["checkpoints"]["drope"] | {"sha256": "1" * 64}
    edits = {"dtype": "bfloat16", "versions": {"dropeact": "1"}, "date": "2027-01-01"}
    checkpoints = {"checkpoints": before.run["checkpoints"] | {"drope": drope}}
    comparison = compared(before, replace(before, run=dict(before.run) | edits | checkpoints))
    assert [d.what for d in comparison.provenance] == ["drope sha256", "dtype", "dropeact version"]
    assert as_text(comparison).splitlines()[1] == "  drope sha256: 0000000000000000… -> 1111111111111111…"


def test_whatever_an_identity_says_of_the_model_is_named_where_it_changed(before):
    said = {
        "architecture": "qwen2_drope",
        "attention": "qk_norm_nope",
        "rope": True,
        "dropped": True,
        "settings": "5" * 64,
    }
    drope = before.run["checkpoints"]["drope"] | said | {"softmax_scale": 0.5, "quantization": "GGUF Q8_0"}
    run = dict(before.run) | {"checkpoints": before.run["checkpoints"] | {"drope": drope}}
    named = {difference.what: difference.new for difference in compared(before, replace(before, run=run)).provenance}
    assert next(iter(named)) == "drope quantization"
    assert named.keys() == {f"drope {name}" for name in (*said, "softmax_scale", "quantization")}
    assert named["drope softmax_scale"] == "0.5"


def test_another_pair_is_not_comparable_and_another_checkpoint_of_the_same_model_is(before):
    def renamed(sha):
        run = run_record(Pair(name="other", rope="x", drope="y"), 32)
        return replace(before, run=run | {"checkpoints": {"rope": {"id": "x", "sha256": sha}}})

    with pytest.raises(InputError, match="of one pair or of one RoPE checkpoint; got synthetic"):
        compared(before, renamed("2" * 64))
    assert compared(before, renamed("0" * 64)).provenance[0].what == "pair"


def test_nothing_there_and_damage_are_one_line(accepted, tmp_path):
    with pytest.raises(InputError, match=r"expected stored results with a run\.json"):
        compare(tmp_path, accepted)
    (tmp_path / "verdicts.json").write_text("{}")
    with pytest.raises(InputError, match=r"expected 'schema' of a verdicts\.json of dropeact"):
        compare(tmp_path, accepted)
    Store(tmp_path / "empty").write_run(run_record(PAIR, 32))
    with pytest.raises(InputError, match="expected stored results; got none"):
        compare(tmp_path / "empty", accepted)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("provenance",), {}),
        (("provenance",), None),
        (("provenance", "checkpoints"), None),
        (("provenance", "checkpoints", "rope"), None),
        (("provenance", "checkpoints", "rope", "adapter"), "lora"),
        (("provenance", "pair"), "synthetic"),
        (("provenance", "sets"), "core"),
        (("claims",), {}),
        (("claims", 0), "a text"),
        (("claims", 0, "estimate"), math.nan),
        (("claims", 0, "low"), math.inf),
        (("claims", 0, "high"), "1"),
        (("claims", 0, "n"), None),
        (("claims", 0, "n"), 1.5),
        (("claims", 0, "verdict"), "true"),
        (("claims", 0, "verdict"), ["supported"]),
        (("claims", 0, "region"), {}),
        (("claims", 0, "other"), 1),
    ],
    ids=str,
)
def test_a_field_of_another_kind_in_a_baseline_is_one_line(where, value, before, tmp_path):
    body = json.loads(verdicts_json(list(before.records.values()), dict(before.run)))
    *outer, last = where
    holder = body
    for key in outer:
        holder = holder[key]
    holder[last] = value
    (tmp_path / "verdicts.json").write_text(json.dumps(body))
    with pytest.raises(InputError, match=r"^expected .*verdicts\.json.*; got .*; restore it, or accept again$"):
        baseline(tmp_path)


def test_verdicts_of_a_later_schema_ask_for_a_later_dropeact(tmp_path):
    (tmp_path / "verdicts.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match=r"schema 1 or older; got 99 in .*; update dropeact"):
        baseline(tmp_path)


def test_json_has_every_record_and_no_infinities(before, after):
    body = json.loads(as_json(compared(before, after)), parse_constant=lambda name: pytest.fail(name))
    assert body["status"] == 1
    assert len(body["records"]) == len(IDS)
    assert {"key", "state", "regressed", "old", "new", "change", "notes"} == set(body["records"][0])


def test_paired_movement_of_means_against_scipy():
    rng = np.random.default_rng(0)
    old = rng.normal(1, 1, 20)
    new = old + rng.normal(0.2, 0.1, 20)
    interval = stats.ttest_1samp(new - old, 0).confidence_interval(0.95)
    moved = paired(estimate(old), estimate(new))
    assert (moved.low, moved.high) == pytest.approx((interval.low, interval.high))
    assert moved.beyond


def test_unpaired_movement_of_means_against_scipy():
    rng = np.random.default_rng(1)
    old, new = rng.normal(1, 1, 20), rng.normal(1.1, 2, 30)
    interval = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    moved = welch(sampled(estimate(old)), sampled(estimate(new)))
    assert (moved.low, moved.high) == pytest.approx((interval.low, interval.high))
    assert not moved.beyond


def test_contributions_of_a_ratio_average_to_it_against_the_jackknife():
    rng = np.random.default_rng(2)
    a, b = rng.poisson(30, 400), rng.poisson(20, 400)
    made = estimate(a, b, "ratio")
    left_out = np.array([np.delete(a, i).sum() / np.delete(b, i).sum() for i in range(400)])
    jackknife = math.sqrt(399 / 400 * ((left_out - left_out.mean()) ** 2).sum())
    assert contributions(made).mean() == pytest.approx(made.value)
    assert contributions(made).std(ddof=1) / math.sqrt(400) == pytest.approx(jackknife, rel=0.02)


def test_a_change_within_the_noise_floor_or_the_rounding_is_no_movement():
    values = np.linspace(1, 2, 20)
    shifted = estimate(values + 1e-8)
    assert not paired(estimate(values), shifted).beyond
    assert paired(estimate(values), estimate(values + 0.01)).beyond
    noisy = Estimate(values + 0.01, np.ones(20), "difference", "nats", floor=0.02)
    assert not paired(estimate(values), noisy).beyond


def test_movement_of_equal_runs_is_beyond_its_interval_in_one_of_twenty_against_theory():
    rng = np.random.default_rng(3)
    pairs = rng.normal(0, 1, (2000, 2, 16))
    rate = np.mean([paired(estimate(old), estimate(new)).beyond for old, new in pairs])
    assert rate == pytest.approx(0.05, abs=0.015)


def test_records_without_an_interval_have_no_movement(before):
    record = before.records[QUERY]
    assert recorded_movement(replace(record, estimate=None), record) is None
    assert recorded_movement(replace(record, low=None), record) is None
