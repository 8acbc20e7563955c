"""The calibration in small: promised rates, worlds on the bound, swapped, identical and repeated measurements."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
import xarray as xr

from benchmarks import item_shapes
from benchmarks.calibration import broken, claims, simulated, wrong_families
from benchmarks.calibration_rows import failures
from benchmarks.planted_claims import OWN, SETS, Knob, World, depth, entries, on_bound
from benchmarks.planted_items import FACTS, PROMPTS, Items, on_bound_items, on_items
from benchmarks.shapes import distributions, scenarios
from dropeact.estimators import mean
from dropeact.estimators.regions import at_least
from dropeact.measured import natural
from dropeact.verdicts import Claim, load_claims
from dropeact.verdicts.evaluation import evaluate
from dropeact.verdicts.rule import decide

DIFFERENT = {"drope": {"query_count": 0.5, "key_count": 0.5, "surge": 6.0, "peak": 0.5, "entropy": 0.4, "massive": 0.5}}


class Seen(World):
    """A world that remembers which models were asked, and may exchange them or show one as both."""

    names: Mapping[str, str] = MappingProxyType({})
    asked: frozenset[str] = frozenset()

    def load(self, column, corpus, arm, measurement):
        self.asked |= {column}
        return super().load(self.names.get(column, column), corpus, arm, measurement)


class Repeated(World):
    """Every random control measured a second time with the same result."""

    def load(self, column, corpus, arm, measurement):
        dataset = super().load(column, corpus, arm, measurement)
        if "condition" not in dataset.dims:
            return dataset
        again = [name for name in dataset["condition"].values.tolist() if name.startswith("random")]
        copies = dataset.sel(condition=again).assign_coords(condition=[f"{name}-again" for name in again])
        return xr.concat([dataset, copies], "condition", data_vars="minimal")


def directions():
    """The records of any pair that state a direction."""
    return [entry for entry in entries(load_claims()) if entry.kind == "direction" and entry.pair is OWN]


def judged(entry, world):
    item = entry.judged(world)
    return decide(item.p, item.p.decisive)


def seen(names):
    world = Seen(32, DIFFERENT)
    world.names = names
    return world


SWAPPED = {"rope": "drope", "drope": "rope"}
SAME = {"drope": "rope"}


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda s: s.shape)
@pytest.mark.parametrize("name", ["normal", "rare counts"])
def test_array_code_against_the_classes(scenario, name):
    sample = scenario.make(distributions(np.random.default_rng(1))[name], 6, 16)
    fast = scenario.fast(sample)
    for run in range(6):
        assert (fast[0][run], fast[1][run]) == pytest.approx(scenario.slow(sample, run), rel=1e-9, abs=1e-12)


def test_wrong_verdicts_and_coverage_are_as_promised():
    assert failures(simulated((8, 32), 1200, ["normal", "t3", "symmetric contamination"])) == []


def test_wrong_verdicts_on_answers_are_as_promised_and_t_alone_breaks_the_promise():
    rows = list(item_shapes.rows((10, 100), 1200))
    assert failures(rows) == []
    alone = [row._replace(asserted=True) for row in rows if row.distribution == item_shapes.ALONE]
    assert {row.what.split(":")[0] for row in failures(alone)} == {"rate", "change", "ratio"}


def test_a_seed_as_the_unit_fails_the_calibration():
    rng = np.random.default_rng(2)
    row = broken(distributions(rng)["normal"], 16, 1000)
    assert failures([row]) == [row]


def test_wrong_families_against_hand_count():
    support = np.array([[0.5, 0.5], [0.001, 0.5], [0.02, 0.5], [0.5, 0.001]])
    assert wrong_families(support, 1 - support, 0) == 2  # 0.02 * 2 is above 0.025
    assert wrong_families(support, 1 - support, 1) == 1  # the first record is true: only its opposite is wrong


def test_some_claims_on_their_bound_are_rarely_decided():
    chosen = [entry for entry in entries(load_claims()) if entry.claim.experiment in ("2", "upstream")]
    rows, reached = claims(chosen[::3], (16,), 40, 400)
    assert failures(rows) == []
    assert len(rows) > len(reached)


def test_a_world_on_the_bound_is_on_the_bound():
    entry = next(entry for entry in entries(load_claims()) if entry.claim.id == "bos-norm-peak")
    found = on_bound(entry, texts=200)
    assert found is not None
    assert depth(entry.outcome(found[0]), entry.region) == pytest.approx(0, abs=1e-9)


def test_a_claim_that_counts_seeds_as_texts_fails_on_its_bound():
    """The loss under four random controls, each taken for a text of its own."""

    def seeds(measured):
        """The loss is above a bound."""
        losses = measured.rope.disruption["nats"].sel(condition=[f"random-{i}" for i in range(4)])
        stacked = losses.stack(seed=("text", "condition")).drop_vars(["seed", "text", "condition", "half"])
        return mean(stacked.rename(seed="text").assign_coords(text=range(stacked.size)), unit="nats")

    claim = Claim("seeds", seeds, at_least(3.0, "r"), "direction", "own", "all", "core", "own", "")
    rows, _ = claims(list(entries({"seeds": claim})), (16,), 60, 200)
    assert failures(rows)


def test_a_sample_of_items_is_as_large_as_the_suite_and_paired():
    world = Items(run=3)
    knowledge, retrieval = (world.load("rope", "passages", "first", name) for name in ("knowledge", "retrieval"))
    assert {task: int((knowledge["task"].values == task).sum()) for task in FACTS} == FACTS
    assert retrieval.sizes["text"] == PROMPTS
    assert knowledge["text"].equals(world.load("drope", "passages", "first", "knowledge")["text"])
    right = knowledge["correct"].sel(condition=["baseline", "massive"]).values
    assert np.corrcoef(right.T)[0, 1] > 0.3


def test_items_on_a_bound_are_rarely_decided_and_beyond_it_are():
    entry = next(entry for entry in entries(load_claims()) if entry.claim.id == "retrieval-rope-within")
    found = on_bound_items(entry)
    assert found is not None
    rows, _ = claims([entry], (16,), 60, 200)
    assert failures(rows) == []
    above = found[0].turned("rope", "passkey", 0.75).turned("rope", "cued", 0.75)
    assert {judged(on_items(entry), above.sampled(0, run)) for run in range(5)} == {"supported"}


def comparisons():
    """Records that compare the models: both are asked, and exchanging them changes the evidence."""
    for entry in directions():
        world = seen({})
        item, swapped = entry.judged(world), entry.judged(seen(SWAPPED))
        if item.outcome is not None and world.asked == {"rope", "drope"} and item.p != pytest.approx(swapped.p):
            yield entry


def test_swapping_the_models_turns_supported_into_contradicted():
    supported = [entry for entry in comparisons() if judged(entry, seen({})) == "supported"]
    assert {entry.claim.id for entry in supported} >= {
        "massive-query-reduction",
        "massive-layer1-only",
        "bos-norm-peak",
        "entropy-minimum",
    }
    swapped = {entry.key: judged(entry, seen(SWAPPED)) for entry in supported}
    assert swapped == dict.fromkeys(swapped, "contradicted")


def test_identical_models_support_no_difference_between_them():
    assert [entry.key for entry in comparisons() if judged(entry, seen(SAME)) == "supported"] == []


def test_repeating_every_random_control_changes_no_verdict():
    once, twice = World(32, DIFFERENT), Repeated(32, DIFFERENT)
    for entry in entries(load_claims()):
        if entry.claim.experiment == "2":
            assert entry.judged(twice).p == pytest.approx(entry.judged(once).p, rel=1e-6, abs=1e-12), entry.key


def test_one_nan_makes_every_claim_that_uses_it_untestable():
    """An entry that moves a claim's p when it is moved is used; as NaN it must never be skipped over."""
    places = [
        ("observations", "sink_score", (("layer", 1),)),
        ("observations", "first_norm", (("depth", 4),)),
        ("observations", "entropy", (("depth", 4),)),
        ("disruption", "nats", (("condition", "random-2"),)),
    ]
    for measurement, variable, at in places:
        for entry in directions():
            world = World(32)
            before = entry.judged(world)
            if before.outcome is None or ("rope", "passages", measurement) not in world.cells:
                continue
            first = world.cells["rope", "passages", measurement]["text"].values[3]
            knob = Knob("rope", measurement, variable, (("text", first), *at), True)
            if entry.judged(world.turned(knob, 50.0)).p != before.p:
                assert entry.judged(world.turned(knob, float("nan"))).outcome is None, (entry.key, variable)


def test_an_unplanted_measurement_is_left_out_not_passed():
    def absent(measured):
        """Nothing."""
        return mean(measured.rope.measurement("nobody-plants-this")["x"], unit="x")

    claim = Claim("absent", absent, at_least(0.0, "r"), "direction", "own", "all", "core", "own", "")
    assert on_bound(next(entries({"absent": claim})), texts=32) is None
    missing = evaluate(claim, "direction", absent, claim.region, natural(World(32), OWN), SETS)
    assert missing.verdict == "untestable"


def test_identical_answers_support_no_difference_between_the_models():
    class Same(Items):
        def load(self, column, corpus, arm, measurement):
            return super().load("rope", corpus, arm, measurement)

    ids = ("knowledge-drope-robust", "passkey-drope-unaffected")
    robust, unaffected = (next(e for e in entries(load_claims()) if e.claim.id == id) for id in ids)
    rates = {"rope": {"reviews:massive": 0.6, "passkey:massive": 0.2}}
    verdicts = {judged(on_items(robust), Same(rates, run)) for run in range(8)}
    assert "supported" not in verdicts
    assert judged(on_items(unaffected), Same(rates, 0)) == "contradicted"  # the records are evaluated, not skipped
