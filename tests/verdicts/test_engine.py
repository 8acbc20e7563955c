from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from dropeact import measured as views
from dropeact.axes import InputError
from dropeact.estimators import NotApplicable, Untestable, both, difference, mean, ratio, where_tested
from dropeact.estimators.outcomes import remark
from dropeact.estimators.regions import at_least, equivalent_rate, fewer_by_ratio, higher_rate
from dropeact.measured import MissingMeasurement
from dropeact.pairs import Pair
from dropeact.report import words
from dropeact.report.explain import described
from dropeact.store import Store
from dropeact.verdicts import judge, load_claims
from dropeact.verdicts.registry import Claim, Layers, Sets
from dropeact.verdicts.sides import baseline
from tests.synthetic_results import PAIR, results


def made(function, id="x", *, region=None, layers: Layers = "all", set: Sets = "core", family="f"):
    return Claim(id, function, region or at_least(0.2, "r"), "direction", "1", layers, set, family, "")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    moved = {
        "query_count": 0.5,
        "key_count": 0.8,
        "surge": 6.0,
        "sink": 0.6,
        "peak": 0.5,
        "entropy": 0.4,
        "massive": 0.5,
    }
    return results(tmp_path_factory.mktemp("planted"), plant={"drope": moved})


@pytest.fixture(scope="module")
def identical(tmp_path_factory):
    return results(tmp_path_factory.mktemp("identical"), same=True)


def one(directory, claim, **options):
    return judge(directory, claims={claim.id: claim}, **options)[0]


def statement(function):
    function.__doc__ = "A statement."
    return function


def test_planted_effects_are_all_supported(planted):
    verdicts = {record.id: record.verdict for record in judge(planted, claims=load_claims())}
    for id in ("massive-query-reduction", "massive-layer1-surge", "bos-norm-peak", "entropy-minimum"):
        assert verdicts[id] == "supported", id
    assert verdicts["disruption-reliance-ratio"] == "supported"


def test_identical_models_support_no_difference(identical):
    between = {
        "massive-query-reduction",
        "massive-key-reduction",
        "massive-layer1-surge",
        "massive-layer1-only",
        "massive-late-layers-fall",
        "disruption-reliance-ratio",
        "sink-rate-early-layers",
        "bos-norm-peak",
        "entropy-minimum",
        "bos-write-higher",
        "layer1-attention-contribution",
        "layer1-qk-norms",
        "layer0-attention-suppressed",
        "bos-spike-delayed",
    }
    verdicts = {record.id: record.verdict for record in judge(identical, claims=load_claims())}
    assert {id: verdicts[id] for id in between if verdicts[id] == "supported"} == {}
    assert verdicts["sink-rate-equivalent"] == "supported"
    assert verdicts["massive-value-unchanged"] == "supported"


def test_swapped_models_turn_direction_into_opposite(tmp_path):
    moved = {"query_count": 2.0, "peak": 2.0, "entropy": -0.4, "massive": 2.5}
    swapped = results(tmp_path, plant={"drope": moved})
    records = {record.id: record for record in judge(swapped, claims=load_claims())}
    for id in ("massive-query-reduction", "bos-norm-peak", "entropy-minimum", "disruption-reliance-ratio"):
        assert (records[id].verdict, records[id].reason) == ("contradicted", "opposite"), id


@pytest.mark.parametrize("error", [ValueError("two\nlines"), KeyError("x"), ZeroDivisionError()])
def test_a_claim_that_raises_is_untestable_and_takes_no_other_with_it(planted, error):
    def broken(measured):
        raise error

    def fine(measured):
        return mean(measured.rope.sink_rate().mean("layer"), unit="rate")

    records = judge(planted, claims={"a": made(statement(broken), "a"), "b": made(statement(fine), "b")})
    assert [record.verdict for record in records] == ["untestable", "supported"]
    assert type(error).__name__ in records[0].reason
    assert "\n" not in records[0].reason
    assert records[0].p_adjusted == 1.0


def test_nan_is_untestable_never_a_pass(planted):
    def broken(measured):
        values = measured.rope.sink_rate().mean("layer")
        values[3] = np.nan
        return mean(values, unit="rate")

    record = one(planted, made(statement(broken)))
    assert record.verdict == "untestable"
    assert "finite" in record.reason


@pytest.mark.parametrize(
    ("cell", "variable", "where", "ids"),
    [
        ("observations", "sink_score", {"layer": 1}, ["sink-rate-rope", "sink-rate-early-layers"]),
        ("observations", "first_norm", {"depth": 5}, ["bos-norm-peak"]),
        ("observations", "first_norm", {"depth": 1}, ["massive-layer1-surge", "massive-late-layers-fall"]),
        ("disruption", "nats", {"condition": 3}, ["disruption-rope-collapses", "disruption-random-harmless"]),
    ],
)
def test_one_nan_among_layers_or_controls_is_untestable(planted, monkeypatch, cell, variable, where, ids):
    load = Store.load

    def poisoned(self, column, corpus, arm, measurement):
        dataset = load(self, column, corpus, arm, measurement)
        if measurement == cell and column == "rope":
            dataset[variable][{"text": 3} | where] = np.nan
        return dataset

    monkeypatch.setattr(Store, "load", poisoned)
    claims = load_claims()
    records = judge(planted, claims={id: claims[id] for id in ids})
    assert {record.id: record.verdict for record in records} == dict.fromkeys(ids, "untestable")


def test_a_layer_where_neither_model_has_any_massive_value_is_not_one_where_drope_has_more(planted, monkeypatch):
    load, ids = Store.load, ["massive-layer1-only"]

    def empty(self, column, corpus, arm, measurement):
        dataset = load(self, column, corpus, arm, measurement)
        if measurement == "observations":
            dataset["massive_count"][{"layer": 0}] = 0
        return dataset

    before = judge(planted, claims={id: load_claims()[id] for id in ids})
    monkeypatch.setattr(Store, "load", empty)
    assert [r.verdict for r in judge(planted, claims={id: load_claims()[id] for id in ids})] == [
        r.verdict for r in before
    ]


COUNTED = {"observations": ["massive_count"], "phenomena": ["rotary_count", "massive_activation_channels"]}


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        ("drope", ["massive-query-reduction", "massive-key-reduction", "massive-late-layers-fall"]),
        ("rope", ["massive-value-unchanged", "jin-massive-in-qk-not-v", "jin-low-frequency", "sun-few-and-constant"]),
    ],
)
def test_what_is_counted_in_a_stream_of_nan_is_untestable_and_not_none(planted, monkeypatch, column, ids):
    """No comparison with NaN is true: a model that overflows in one text has no massive values there."""
    load = Store.load

    def overflown(self, of, corpus, arm, measurement):
        dataset = load(self, of, corpus, arm, measurement)
        if of == column and measurement in COUNTED:
            for name in COUNTED[measurement]:
                dataset[name][{"text": 3}] = 0
            if measurement == "observations":
                dataset["entropy"][{"text": 3, "depth": slice(4, None)}] = np.nan
        return dataset

    monkeypatch.setattr(Store, "load", overflown)
    claims = load_claims()
    records = judge(planted, claims={id: claims[id] for id in ids})
    assert {record.id: record.verdict for record in records} == dict.fromkeys(ids, "untestable")


def test_a_failed_manipulation_check_is_untestable_with_its_reason(planted):
    def check(measured):
        raise Untestable("first-token norm did not fall")

    assert one(planted, made(statement(check))).reason == "first-token norm did not fall"


def test_a_statement_of_two_models_is_contradicted_by_one_and_never_supported_where_the_other_is_not_tested(planted):
    def untested():
        raise Untestable("RoPE finds nothing")

    @statement
    def of_both(measured):
        of_drope = mean(measured.drope.counts("query").sum("layer"), unit="entries")
        return where_tested({"DroPE": lambda: of_drope, "RoPE": untested})

    false = one(planted, replace(made(of_both, region=at_least(1e6, "r")), note="A note."))
    assert (false.verdict, false.label, false.notes) == ("contradicted", "DroPE", "A note.")
    assert false.remarks == "Not tested: RoPE finds nothing."
    true = one(planted, made(of_both, region=at_least(1.0, "r")))
    assert (true.verdict, true.reason, true.estimate, true.remarks) == ("untestable", "RoPE finds nothing", None, "")


@pytest.mark.parametrize("held", [3.0, 0.0], ids=["the part that varies is shown", "the part that does not is shown"])
def test_a_part_that_varies_over_no_text_is_exact_and_not_unbounded(planted, held):
    @statement
    def function(measured):
        loss = measured.drope.nats("baseline")
        return both({"loss": mean(loss, unit="nats"), "held": mean(0 * loss + held, unit="nats")})

    record = one(planted, made(function, region=at_least(1.0, "why", scale="rate")))
    assert f"held {words.number(held)} exact" in words.parts(record)
    assert (words.interval(record) == "exact") is (held == 0)
    assert "∞" not in words.measured(record) + words.parts(record)


def test_a_record_says_what_its_claim_remarks_on_whatever_the_verdict(planted):
    @statement
    def left_out(measured):
        remark("Left out: reviews (0.50)")
        return ratio(measured.drope.counts("query").sum("layer"), measured.rope.counts("query").sum("layer"))

    @statement
    def nothing_left(measured):
        left_out(measured)
        raise Untestable("no task counts")

    judged = one(planted, made(left_out, region=fewer_by_ratio()))
    assert (judged.verdict, judged.remarks) == ("supported", "Left out: reviews (0.50).")
    assert "  beside it  Left out: reviews (0.50)." in described(judged)
    judged = one(planted, replace(made(nothing_left), note="Asked at 256 tokens."))
    assert (judged.verdict, judged.reason) == ("untestable", "no task counts")
    assert (judged.notes, judged.remarks) == ("Asked at 256 tokens.", "Left out: reviews (0.50).")


def test_what_other_dimensions_cost_stands_beside_what_the_massive_ones_do_against_stored_losses(planted):
    record = one(planted, load_claims()["disruption-reliance-ratio"])
    view = views.natural(Store(planted), PAIR)
    more = [
        float((view.rope.nats(name) - view.rope.nats("baseline")).mean())
        - float((view.drope.nats(name) - view.drope.nats("baseline")).mean())
        for name in ("massive", "norm-matched")
    ]
    assert f"by {more[0]:+.2f} nats with the massive dimensions zeroed" in record.remarks
    assert f", {more[1]:+.2f} nats with random others of the same squared norm." in record.remarks


def test_a_missing_measurement_is_untestable_or_not_measured(planted):
    def absent(measured):
        return measured.rope.measurement("nothing")

    assert one(planted, made(statement(absent))).verdict == "untestable"
    assert one(planted, made(statement(absent), set="behaviour")).verdict == "not measured"


def test_cells_of_a_set_that_the_run_does_not_list_are_no_results(planted):
    """A run that was killed leaves some cells of a set; what they show is not judged."""
    left = made(statement(lambda measured: mean(measured.rope.observations["nats_mean"], unit="x")), set="behaviour")
    assert one(planted, left).verdict == "not measured"


def test_a_half_that_is_not_stored_is_missing_by_name(tmp_path):
    folder = results(tmp_path)
    (folder / "store" / "drope" / "passages-first" / "observations-B.nc").unlink()
    record = one(folder, load_claims()["massive-query-reduction"])
    assert (record.verdict, record.reason) == (
        "untestable",
        "missing measurement drope/observations of one half of the texts",
    )


def test_a_precondition_that_the_pair_lacks_is_not_applicable(planted):
    def lacking(measured):
        raise NotApplicable("length beyond training")

    def literal(measured):
        raise AssertionError("never evaluated")

    assert one(planted, made(statement(lacking))).verdict == "not applicable"
    assert one(planted, made(statement(literal), layers="literal")).verdict == "not applicable"


def test_a_seed_as_the_unit_is_an_error_not_a_verdict(planted):
    def seeds(measured):
        losses = measured.rope.disruption["nats"]
        return mean(losses.rename(condition="seed"), unit="nats")

    record = one(planted, made(statement(seeds)))
    assert record.verdict == "untestable"
    assert "the text is the unit" in record.reason


def test_all_untestable_still_gives_every_record(planted):
    def broken(measured):
        raise RuntimeError("no")

    records = judge(planted, claims={name: made(statement(broken), name) for name in "abc"})
    assert [record.verdict for record in records] == ["untestable"] * 3


def test_untestable_and_unmeasured_records_still_count_in_the_family(planted):
    def broken(measured):
        raise RuntimeError("no")

    def weak(measured):
        rng = np.random.default_rng(1)
        texts = measured.rope.sink_rate().mean("layer")
        return mean(texts * 0 + 0.2 + rng.normal(0.09, 0.2, texts.sizes["text"]), unit="rate")

    alone = one(planted, made(statement(weak)))
    crowd = {"a": made(statement(weak), "a")} | {n: made(statement(broken), n) for n in "bcdefgh"}
    crowded = judge(planted, claims=crowd)[0]
    assert crowded.p_adjusted == pytest.approx(min(1.0, 8 * (alone.p_adjusted or 0)))


def test_a_family_never_shrinks_below_its_fixed_size(planted):
    def weak(measured):
        rng = np.random.default_rng(1)
        texts = measured.rope.sink_rate().mean("layer")
        return mean(texts * 0 + 0.2 + rng.normal(0.09, 0.2, texts.sizes["text"]), unit="rate")

    alone, locked = one(planted, made(statement(weak))), one(planted, made(statement(weak)), families={"f": 10})
    assert locked.p_adjusted == pytest.approx(min(1.0, 10 * (alone.p_adjusted or 0)))


def test_exact_records_stay_outside_the_family(planted):
    def constant(measured):
        return mean(measured.rope.sink_rate().mean("layer") * 0 + 1.0, unit="rate")

    def weak(measured):
        rng = np.random.default_rng(1)
        texts = measured.rope.sink_rate().mean("layer")
        return mean(texts * 0 + 0.2 + rng.normal(0.09, 0.2, texts.sizes["text"]), unit="rate")

    both = judge(planted, claims={"a": made(statement(constant), "a"), "b": made(statement(weak), "b")})
    assert (both[0].n, both[0].exact, both[0].verdict) == (1, True, "supported")
    assert both[1].p_adjusted == pytest.approx(one(planted, made(statement(weak), "b")).p_adjusted)


def test_both_kinds_of_record_on_the_published_pair(tmp_path):
    pair = Pair(name="p", rope="r", drope="d", published=True, write_layer=2)
    records = judge(results(tmp_path, pair=pair, plant={"drope": {"query_count": 0.61}}), claims=load_claims())
    kinds = {record.kind for record in records if record.id == "massive-query-reduction"}
    assert kinds == {"direction", "magnitude"}


def test_the_write_layer_is_selected_on_the_other_half(planted):
    view = views.natural(Store(planted), PAIR)
    assert view.write_layers == {"A": 2, "B": 2}
    norm = view.rope.first_norm
    swapped = norm.copy(data=np.where((norm["half"] == "A").values[:, None], norm.roll(depth=1).values, norm.values))
    object.__setattr__(view.rope, "first_norm_planted", swapped)
    view.rope.observations["first_norm"] = swapped
    view.__dict__.pop("write_layers", None)
    assert view.write_layers == {"A": 2, "B": 3}


def test_nothing_lies_before_a_write_layer_that_is_the_first(planted):
    view = views.natural(Store(planted), replace(PAIR, write_layer=0))
    with pytest.raises(NotApplicable, match="none lies before it"):
        view.before_write(view.rope.counts("query"))
    assert view.up_to_write(view.rope.counts("query")).equals(view.at_write(view.rope.counts("query")))


def test_missing_cells_raise_by_name(planted):
    with pytest.raises(MissingMeasurement, match="rope/passages-first/nothing"):
        views.natural(Store(planted), PAIR).rope.measurement("nothing")


def test_registers_are_those_that_the_run_names_and_else_stand_in_the_ids(tmp_path):
    folder = results(tmp_path, texts=16)
    rope = views.natural(Store(folder), PAIR).rope
    by_id = rope.registers(rope.nats("baseline"))
    assert by_id[:4] == ["literary", "technical", "conversational", "factual"]
    run = Store(folder).read_run()
    ids = rope.nats("baseline")["text"].values.tolist()
    Store(folder).write_run(run | {"registers": dict.fromkeys(ids[:3], "own")})
    assert rope.registers(rope.nats("baseline")) == ["own"] * 3 + by_id[3:]


def test_a_claim_about_registers_follows_the_run_json(tmp_path):
    folder = results(tmp_path, texts=32, plant={"rope": {"technical": 3.0}, "drope": {"technical": 3.0}})
    view = views.natural(Store(folder), PAIR)
    judge_registers = load_claims()["disruption-consistent-across-text-types"].function
    judge_registers(view)
    run = Store(folder).read_run()
    Store(folder).write_run(
        run | {"registers": dict.fromkeys(view.rope.nats("baseline")["text"].values.tolist(), "own")}
    )
    with pytest.raises(NotApplicable, match="the texts are not of the registers"):
        judge_registers(view)


def test_verdicts_of_a_later_schema_are_no_baseline(tmp_path):
    (tmp_path / "verdicts.json").write_text('{"schema": 99, "claims": [], "provenance": {}}')
    with pytest.raises(InputError, match=r"expected verdicts of schema 1 or older; got 99 in .*; update dropeact"):
        baseline(tmp_path)


def test_regions_of_the_declared_wording():
    assert (fewer_by_ratio().high, higher_rate().low, equivalent_rate().high) == (0.95, 0.05, 0.10)


def test_difference_of_equal_columns_is_exactly_zero(identical):
    view = views.natural(Store(identical), PAIR)
    same = difference(view.drope.sink_rate().mean("layer"), view.rope.sink_rate().mean("layer"), unit="rate")
    assert same.is_exact
    assert (
        ratio(
            xr.ones_like(view.rope.sink_rate().mean("layer")), xr.ones_like(view.rope.sink_rate().mean("layer"))
        ).value
        == 1
    )
