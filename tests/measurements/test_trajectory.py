import numpy as np
import pytest
import xarray as xr

from dropeact.axes import InputError
from dropeact.measurements.trajectory import continued, kept


def stages(*tokens, parent=3.0):
    """The RoPE parent, just dropped, and a snapshot at each token count; the loss is the token count."""
    names = ["RoPE", "just dropped", *(f"{count:,} tokens" for count in tokens)]
    nats = np.array([parent, 0.0, *tokens])[:, None, None] * np.ones((1, 2, 4))
    counts = ("stage", [np.nan, 0.0, *map(float, tokens)])
    data = xr.Dataset({"nats": (("stage", "text", "position_bin"), nats)}, coords={"stage": names})
    return data.assign_coords(tokens=counts)


def test_earlier_stages_come_before_the_first_new_one_against_hand_count():
    joined = continued(stages(100, 200, 300), stages(300, 400))
    assert joined["stage"].values.tolist()[2:] == ["100 tokens", "200 tokens", "300 tokens", "400 tokens"]
    assert joined["nats"].isel(text=0, position_bin=0).values.tolist() == [3, 0, 100, 200, 300, 400]


def test_nothing_is_kept_of_a_run_that_begins_anew():
    xr.testing.assert_identical(continued(stages(500), stages(100, 200)), stages(100, 200))


def test_a_trajectory_of_another_parent_is_refused():
    with pytest.raises(InputError, match="same RoPE parent"):
        continued(stages(100, parent=3.01), stages(200))


def test_a_run_without_snapshots_is_refused(tmp_path):
    with pytest.raises(InputError, match="use --snapshots"):
        kept(tmp_path)
