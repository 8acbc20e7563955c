"""An effect that the noise floor could make is never supported, however sharply the texts agree on it."""

import numpy as np
import pytest
import xarray as xr

from dropeact.axes import Column
from dropeact.estimators import Argmax, Estimate, Untestable, both, difference, mean, where_tested
from dropeact.estimators.regions import at_least, at_most, equivalent_nats
from dropeact.measured import natural
from dropeact.store import Cell, Store
from dropeact.verdicts import judge
from dropeact.verdicts.noise import Noise, shiftings, within_noise
from dropeact.verdicts.registry import Claim
from tests.synthetic_results import PAIR, results

MORE = at_least(0.0, "any difference")


def planted(directory, plant: dict[Column, dict[str, float]] | None):
    """Two models alike but for what is planted."""
    return results(directory, same=True, plant=plant, cells=("observations", "disruption"), corpora=("passages",))


def noisy(directory, floors, plant: dict[Column, dict[str, float]] | None = None):
    """Planted results with a stored noise floor."""
    folder = planted(directory, plant)
    floor = {f"absolute_{name}": ("comparison", np.array([0.0, value])) for name, value in floors.items()}
    cell = Cell("rope", "passages", PAIR.primary_arm, "A", "noise-floor")
    Store(folder).save(cell, xr.Dataset(floor, coords={"comparison": ["repeat", "batch"]}), {})
    return folder


def of(function, region=MORE):
    function.__doc__ = "A statement."
    return {"x": Claim("x", function, region, "direction", "1", "all", "core", "f", "")}


def loss(measured):
    return difference(measured.drope.observations["nats_mean"], measured.rope.observations["nats_mean"], unit="nats")


def beyond_random(measured):
    return difference(measured.drope.nats("massive"), measured.drope.nats("baseline"), unit="nats")


@pytest.mark.parametrize(("floor", "verdict"), [(1e-6, "supported"), (4e-3, "supported"), (2e-2, "inconclusive")])
def test_a_planted_effect_of_a_hundredth_nat_needs_a_smaller_floor(tmp_path, floor, verdict):
    folder = noisy(tmp_path, {"nats_mean": floor}, {"drope": {"loss": 0.01}})
    record = judge(folder, claims=of(loss))[0]
    assert record.verdict == verdict
    assert ("within the noise floor" in record.reason) == (verdict == "inconclusive")
    assert record.p_support == (1.0 if verdict == "inconclusive" else pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize(
    ("floor", "effect", "region", "verdict"),
    [
        (7e-3, 0.01, MORE, "inconclusive"),  # both models move by the floor: 0.014 in all
        (4e-4, 3e-4, MORE, "inconclusive"),  # however small the floor
        (1e-3, -0.5, at_most(-0.05, "lower"), "supported"),  # a negative effect is as large as it is far from 0
        (0.3, -0.5, at_most(-0.05, "lower"), "inconclusive"),
        (2e-2, 0.52, at_least(0.5, "far more"), "supported"),  # beside no difference, not beside the bound
    ],
)
def test_an_effect_of_either_sign_counts_beside_twice_the_floor_against_hand_count(
    tmp_path, floor, effect, region, verdict
):
    folder = noisy(tmp_path, {"nats_mean": floor}, {"drope": {"loss": effect}})
    assert judge(folder, claims=of(loss, region))[0].verdict == verdict


def test_an_effect_whose_test_the_noise_takes_away_is_within_it(tmp_path):
    """Moved by the floor, the condition of the test no longer holds: how far the effect would move is unknown."""

    def where_loss_is_low(measured):
        limit = 0.005 + float(plain.rope.observations["nats_mean"].mean())

        def tested():
            if float(measured.rope.observations["nats_mean"].mean()) > limit:
                raise Untestable("the loss is not low")
            return loss(measured)

        return where_tested({"low": tested, "massive": lambda: beyond_random(measured)})

    folder = noisy(tmp_path, {"nats_mean": 0.01}, {"drope": {"loss": 1.0, "massive": 3.0}})
    plain = natural(Store(folder), PAIR)
    record = judge(folder, claims=of(where_loss_is_low))[0]
    assert record.verdict == "inconclusive"
    assert record.reason == "low: an effect of 1 is within the noise floor of inf"


def test_a_contrast_within_one_model_is_not_spared(tmp_path):
    plant: dict[Column, dict[str, float]] = {"drope": {"massive": 0.01}}
    assert judge(noisy(tmp_path / "quiet", {"nats": 1e-4}, plant), claims=of(beyond_random))[0].verdict == "supported"
    record = judge(noisy(tmp_path / "loud", {"nats": 0.5}, plant), claims=of(beyond_random))[0]
    assert record.verdict == "inconclusive"


def test_one_part_within_the_noise_takes_the_whole_statement(tmp_path):
    folder = noisy(tmp_path, {"nats_mean": 0.02}, {"drope": {"loss": 0.01, "massive": 3.0}})

    def two(measured):
        return both({"large": beyond_random(measured), "small": loss(measured)})

    record = judge(folder, claims=of(two))[0]
    assert record.verdict == "inconclusive"
    assert record.reason.startswith("small: an effect of 0.01")


def lead(center):
    return Estimate(center + 0.01 * np.linspace(-1, 1, 8), np.ones(8), "difference", "nats")


@pytest.mark.parametrize(("noise", "within"), [(0.3, True), (0.1, False)])
def test_of_a_largest_mean_the_closest_lead_has_to_exceed_the_noise(tmp_path, noise, within):
    """A lead of 0.2 over the nearest rival, and of 5 over another, that measuring again moves by `noise`."""
    measured = natural(Store(noisy(tmp_path, {"nats_mean": 1e-3})), PAIR)

    def leads(by):
        return Argmax({1: lead(5.0 + by), 2: lead(0.2 + by)}, {0: lead(-0.2 - by)}, "largest at layer 0")

    found = within_noise(leads(0.0), at_least(3.0, "of the claim, not of a lead"), measured, lambda _: leads(noise))
    assert (found is not None) == within
    if found is not None:
        assert (found.effect, found.noise, found.label) == (pytest.approx(0.2), pytest.approx(0.3), "")
        assert str(found) == "an effect of 0.2 is within the noise floor of 0.3"


def test_an_effect_below_0_is_said_by_its_size(tmp_path):
    measured = natural(Store(noisy(tmp_path, {"nats_mean": 1e-3})), PAIR)
    found = within_noise(lead(-0.2), at_most(-0.1, "less"), measured, lambda _: lead(0.05))
    assert str(found) == "an effect of 0.2 is within the noise floor of 0.25"
    assert str(Noise(0.5, 1.0, "DroPE")) == "DroPE: an effect of 0.5 is within the noise floor of 1"


def test_a_statement_of_no_effect_is_left_to_its_margin(tmp_path):
    folder = noisy(tmp_path, {"nats_mean": 0.02})
    assert judge(folder, claims=of(loss, equivalent_nats()))[0].verdict == "supported"


def test_an_effect_far_beyond_the_floor_keeps_its_p(tmp_path):
    plant: dict[Column, dict[str, float]] = {"drope": {"sink": 0.9}}
    quiet, without = noisy(tmp_path / "a", {"sink_score": 1e-7}, plant), planted(tmp_path / "b", plant)

    def rate(measured):
        return mean(measured.drope.sink_rate().mean("layer"), unit="rate")

    assert judge(quiet, claims=of(rate))[0] == judge(without, claims=of(rate))[0]


def test_numbers_are_moved_by_their_floor_up_and_down_against_hand_count(tmp_path):
    folder = noisy(tmp_path, {"nats_mean": 0.5, "first_norm": 2.0})
    plain = natural(Store(folder), PAIR)
    by_model, alternating = shiftings(plain)
    for view, norm in ((by_model, [2.0, 2.0, 2.0]), (alternating, [2.0, -2.0, 2.0])):
        moved = view.rope.observations["first_norm"] - plain.rope.observations["first_norm"]
        np.testing.assert_allclose(moved.isel(text=[0, 5], depth=slice(0, 3)), [norm] * 2)
        moved = view.drope.observations["nats_mean"] - plain.drope.observations["nats_mean"]
        np.testing.assert_allclose(moved, -0.5)
        assert view.rope.observations["entropy"].equals(plain.rope.observations["entropy"])
