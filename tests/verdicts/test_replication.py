"""Magnitude records: which figures are judged, inside which region, and that planted figures are found again."""

from math import log

import numpy as np
import pytest
import xarray as xr

from benchmarks.planted_claims import PUBLISHED, World, entries
from benchmarks.planted_items import Items, is_of_items, on_items
from dropeact import published
from dropeact.axes import InputError
from dropeact.verdicts import load_claims
from dropeact.verdicts import replication as regions
from dropeact.verdicts.rule import decide

TEXTS = 320
SHARES = {"rope": (0.469, 0.009, 0.347), "drope": (0.033, 0.688, 0.352)}  # before, at and after the write layer
SINKS = {"rope": (0.66, 0.78), "drope": (0.54, 0.31)}
FIRST, LOCAL = {"rope": 0.651, "drope": 0.675}, {"rope": 0.297, "drope": 0.264}
ENTROPY, WRITE = {"rope": 0.008, "drope": 0.129}, {"rope": 0.22, "drope": 0.34}
LENGTHS = {"rope": {"query": 45.5, "key": 52.0}, "drope": {"query": 6586.0, "key": 5514.0}}
RANDOM = {"rope": 0.006, "drope": 0.002}
AT_WRITE = 2
OBSERVED = {
    "sink-rate-early-layers",
    "entropy-minimum",
    "bos-write-higher",
    "attention-bos-and-local",
    "layer1-attention-contribution",
    "layer1-qk-norms",
    "layer0-attention-suppressed",
    "balance-late-layers-equal",
    "disruption-random-harmless",
}
ANSWERED = {"knowledge-rope-contextual-loss", "knowledge-drope-robust", "retrieval-verification"}


def magnitudes(ids):
    """The magnitude records of these claims."""
    found = [entry for entry in entries(load_claims()) if entry.kind == "magnitude" and entry.claim.id in ids]
    assert {entry.claim.id for entry in found} == set(ids)
    return found


def verdict(entry, world):
    """What a record's own evidence says, without its family."""
    item = entry.judged(world)
    assert item.outcome is not None, (entry.key, item.failure)
    return decide(item.p, item.p.decisive)


def replanted(world, column, name, values):
    """Variables of one measurement set to a number or an array that broadcasts, give or take a hundredth."""
    data = world.load(column, "passages", "first", name)
    noise = 1 + 0.01 * np.random.default_rng([len(column), len(name)]).normal(size=(data.sizes["text"], 1))
    moved = {}
    for variable, planted in values.items():
        like = data[variable]
        jitter = noise.reshape(-1, *[1] * (like.ndim - 1))
        moved[variable] = (like.dims, np.broadcast_to(planted, like.shape) * jitter)
    world.cells[column, "passages", name] = data.assign(moved)


def sink_scores(data, column):
    """Heads above or below tau: in layers 0 and 1 as many as published, and at 512 tokens the published mean."""
    like = data["sink_score"]
    rng = np.random.default_rng(len(column))
    rates = np.full((1, like.sizes["layer"], 1), 0.9)
    rates[0, :2, 0] = SINKS[column]
    sinks = rng.random((like.sizes["text"], like.sizes["layer"], like.sizes["head"])) < rates
    values = np.broadcast_to(np.where(sinks, 0.8, 0.1)[..., None, None], like.shape).copy()
    values[..., 1, :] = FIRST[column]
    return values


@pytest.fixture(scope="module")
def as_published():
    """A world in which the published figures hold, by the variables that the claims read."""
    world = World(TEXTS)
    for column in ("rope", "drope"):
        before, at, after = SHARES[column]
        observed = world.load(column, "passages", "first", "observations")
        depths = np.r_[5.0, np.full(observed.sizes["depth"] - 1, ENTROPY[column])]
        replanted(world, column, "observations", {"sink_score": sink_scores(observed, column), "entropy": depths})
        seen = world.load(column, "passages", "first", "phenomena")
        layers = np.arange(seen.sizes["layer"])
        share = np.select([layers < AT_WRITE, layers == AT_WRITE], [before, at], after)[:, None]
        planted = {"attention_share": share, "local_mass": LOCAL[column], "write_score": WRITE[column]}
        planted |= {f"{tensor}_length": number for tensor, number in LENGTHS[column].items()}
        replanted(world, column, "phenomena", planted)
        lost = world.load(column, "repeated", "first", "published_disruption")
        baseline = lost["nats"].sel(condition="baseline", drop=True)
        conditions = lost["condition"].values
        nats = xr.concat(
            [baseline + (log(1 + RANDOM[column]) if name.startswith("random") else 0.0) for name in conditions],
            "condition",
        ).transpose("text", "condition")
        world.cells[column, "repeated", "published_disruption"] = lost.assign(nats=(nats.dims, nats.values))
    return world


def kept(task, lost):
    """The rate of a task of which disruption takes a share, of planted answers that are right in nine of ten."""
    return {f"{task}:massive": (0.8 if task == "passkey" else 0.9) * (1 - lost)}


def test_every_figure_with_a_tolerance_has_a_magnitude_record_and_no_other():
    judged = {entry.claim.id for entry in entries(load_claims()) if entry.kind == "magnitude"}
    declared = {id for id, entry in published.claims().items() if entry.tolerance is not None and entry.figures}
    assert judged == declared


def test_regions_against_hand_arithmetic():
    cases = {
        regions.replicates("layer1-qk-norms", "ratio", scale="ratio", at=1): (106 * 0.75, 106 * 1.25),
        regions.replicates("massive-query-reduction", "change", scale="ratio"): (0.56, 0.66),
        regions.replicates("sink-rate-early-layers", "drope", scale="rate", at=1): (0.21, 0.41),
        regions.replicates_mean("retrieval-verification", "rope"): (0.02 / 3 - 0.05, 0.02 / 3 + 0.05),
        regions.replicates_difference("layer0-attention-suppressed"): (-0.486, -0.386),
        regions.replicates_change("attention-bos-and-local", "local"): (-0.083, 0.017),
        regions.replicates_ratio("bos-write-higher"): (0.9 * 0.34 / 0.22, 1.1 * 0.34 / 0.22),
        regions.replicates_percent("disruption-random-harmless", "rope_percent"): (
            log(1.006) - 0.02,
            log(1.006) + 0.02,
        ),
        regions.replicates_nats("disruption-rope-collapses", "baseline_ppl", "massive_ppl"): (
            0.9 * log(1508 / 1.30),
            1.1 * log(1508 / 1.30),
        ),
    }
    for region, bounds in cases.items():
        assert (region.low, region.high) == pytest.approx(bounds), region.rationale


def test_factors_of_perplexity_are_compared_in_nats_against_hand_arithmetic():
    """RoPE 4.12 and DroPE 3.39 of one ablation; 1,405 of another: the tolerance is one of the logarithms."""
    tolerance = published.claims()["bos-v-ablation-similar"].tolerance
    assert tolerance is not None
    region, center = regions.replicates_factors("bos-v-ablation-similar", "drope", "rope"), log(3.39) / log(4.12)
    half = tolerance.half_width(center)
    assert (region.low, region.high) == pytest.approx((center - half, center + half))
    single = regions.replicates_factor("layer1-bos-only", "rope")
    assert (single.low + single.high) / 2 == pytest.approx(log(1405))


def test_a_region_has_the_scale_of_its_figure_and_says_which_that_is():
    change = "massive-query-reduction"
    assert regions.replicates(change, "change", scale="ratio").scale == "ratio"
    as_difference = regions.replicates(change, "change", scale="difference")
    assert (as_difference.scale, as_difference.low + as_difference.high) == ("difference", pytest.approx(2 * -0.39))
    first = regions.replicates("sink-rate-early-layers", "drope", scale="rate", at=0)
    assert first.scale == "rate"
    assert "the published drope (0) of sink-rate-early-layers" in first.rationale
    assert "the published change of massive-query-reduction" in as_difference.rationale
    assert regions.replicates_ratio("bos-write-higher").scale == "ratio"
    assert regions.replicates_difference("layer0-attention-suppressed").scale == "difference"


@pytest.mark.parametrize(
    ("region", "line"),
    [
        (lambda: regions.replicates("layer1-qk-norms", "ratio", scale="ratio"), "expected one figure; got ratio"),
        (lambda: regions.replicates("sink-rate-rope", "rate", scale="rate", at=0), "expected one figure; got rate"),
        (lambda: regions.replicates_mean("sink-rate-rope", "rate"), "expected several numbers; got rate"),
        (lambda: regions.replicates_difference("bos-spike-delayed"), "expected one figure; got drope = None"),
        (
            lambda: regions.replicates("retrieval-rope-within", "4096", scale="rate"),
            "expected figures with a tolerance",
        ),
    ],
)
def test_a_figure_that_cannot_be_judged_is_named(region, line):
    with pytest.raises(InputError, match=line):
        region()


def test_published_figures_of_what_is_observed_are_replicated_where_they_are_planted(as_published):
    found = {entry.claim.id: verdict(entry, as_published) for entry in magnitudes(OBSERVED)}
    assert found == dict.fromkeys(OBSERVED, "supported")


@pytest.mark.parametrize("column", ["rope", "drope"])
def test_published_figures_of_what_is_observed_are_not_replicated_elsewhere(column):
    world = World(TEXTS, {column: {"random": 0.5, "local": 0.4, "attention_share": 0.6}})
    for entry in magnitudes(OBSERVED):
        assert verdict(entry, world) == "contradicted", entry.key


def test_published_losses_of_answers_are_replicated_where_they_are_planted():
    rope, drope = kept("cities", 0.35) | kept("sports", 0.14), {}
    rope |= kept("reviews", 0.9) | kept("passkey", 0.986) | {"gap": 0.007}
    drope |= kept("reviews", 0.5) | {"gap": 0.017}
    world = Items({"rope": rope, "drope": drope})
    found = {entry.claim.id: verdict(on_items(entry), world.sampled(0, 0)) for entry in magnitudes(ANSWERED)}
    assert found == dict.fromkeys(ANSWERED, "supported")


def test_a_kind_of_task_with_one_left_out_replicates_no_mean_of_two():
    entry = on_items(next(iter(magnitudes({"knowledge-drope-robust"}))))
    item = entry.judged(Items({"drope": {"reviews": 0.5}}).sampled(0, 0))
    assert item.verdict == "untestable"
    assert item.failure == "the published mean has reviews in it, at chance undisturbed"


def test_published_losses_of_answers_are_not_replicated_where_nothing_is_lost():
    world = Items({"rope": {"gap": 0.3}, "drope": kept("reviews", 0.9) | kept("passkey", 0.9) | {"gap": 0.3}})
    for entry in magnitudes(ANSWERED):
        assert is_of_items(entry)
        assert verdict(on_items(entry), world.sampled(0, 0)) == "contradicted", entry.key


def test_magnitude_records_belong_to_the_published_pair_alone():
    assert {entry.pair for entry in entries(load_claims()) if entry.kind == "magnitude"} == {PUBLISHED}


def test_a_magnitude_record_has_the_hash_of_its_own_function():
    claim = load_claims()["layer1-attention-contribution"]
    assert claim.source_hash("magnitude") != claim.source_hash("direction")
    own = load_claims()["bos-write-higher"]  # judged by its own function
    assert own.source_hash("magnitude") == own.source_hash("direction")
