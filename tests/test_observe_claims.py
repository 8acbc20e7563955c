"""Claims of the observe set that choose a layer or a frequency: planted effects and planted absences."""

import numpy as np
import pytest

from dropeact import netcdf
from dropeact.estimators import EveryArgmax
from dropeact.files import write_dataset
from dropeact.measured import natural
from dropeact.store import Store
from dropeact.verdicts import judge, load_claims
from tests.synthetic_results import PAIR, results

NAMES = ("bos-write-peak-layer", "jin-low-frequency")


def verdicts(folder, plant):
    chosen = {name: load_claims()[name] for name in NAMES}
    return {record.id: record for record in judge(results(folder, plant=plant), claims=chosen)}


def test_planted_peaks_and_low_frequencies_are_supported(tmp_path):
    records = verdicts(tmp_path, {"rope": {"write_late": 1.5}, "drope": {"write_at_w": 1.5}})
    assert [records[name].verdict for name in NAMES] == ["supported", "supported"]
    assert records["bos-write-peak-layer"].label == "RoPE largest at layer 5; DroPE largest at layer 2"
    assert records["jin-low-frequency"].estimate == pytest.approx(0.8, abs=0.01)


def test_peaks_elsewhere_and_high_frequencies_are_contradicted(tmp_path):
    records = verdicts(tmp_path, {"rope": {"write_at_w": 1.5, "slow": 0.3}, "drope": {"write_at_w": 1.5}})
    assert [records[name].verdict for name in NAMES] == ["contradicted", "contradicted"]


def test_one_model_with_its_peak_elsewhere_is_enough_to_contradict(tmp_path):
    records = verdicts(tmp_path, {"rope": {"write_late": 1.5}, "drope": {"write_late": 1.5}})
    assert records["bos-write-peak-layer"].verdict == "contradicted"


def test_evidence_of_several_argmaxes_is_the_weakest_members_against_hand_count(tmp_path):
    folder = results(tmp_path, plant={"rope": {"write_late": 1.5}})
    claim = load_claims()["bos-write-peak-layer"]
    outcome = claim.function(natural(Store(folder), PAIR))
    assert isinstance(outcome, EveryArgmax)
    each = np.array([member.p_values(claim.region) for member in outcome.members])
    together = outcome.p_values(claim.region)
    assert together.support == each[:, 0].max()
    assert together.contradict == min(1.0, 2 * each[:, 1].min())


def test_layers_that_differ_oppositely_are_not_alike_though_their_mean_is(tmp_path):
    """0.1 more of attention in one late layer and 0.1 less in the next: their mean is that of two equal models."""
    store = Store(results(tmp_path, same=True))
    claims = {"balance-late-layers-equal": load_claims()["balance-late-layers-equal"]}
    (alike,) = judge(tmp_path, claims=claims)
    for file in store.root.glob("drope/passages-*/phenomena-?.nc"):
        data = netcdf.read(file)
        data["attention_share"].loc[{"layer": 3}] += 0.1
        data["attention_share"].loc[{"layer": 4}] -= 0.1
        write_dataset(file, data)
    (apart,) = judge(tmp_path, claims=claims)
    assert (alike.verdict, apart.verdict) == ("supported", "contradicted")
    assert apart.label in ("layer 3", "layer 4")
    assert "The mean over these layers is +0.000." in apart.remarks or "is -0.000." in apart.remarks
    assert [part["label"] for part in apart.parts] == ["layer 3", "layer 4", "layer 5"]
