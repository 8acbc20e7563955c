import errno
import os

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from dropeact.axes import COLUMNS, HALVES, InputError
from dropeact.measured import of_run
from dropeact.report import observe_figures
from dropeact.report.audit_figure import audit_figure
from dropeact.report.drawing import draw_stored, save
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR, results


def longer(half):
    """Losses of two joined texts, higher where the second begins."""
    nats = np.array([3.0, 2.5, 3.4, 2.6]) + np.linspace(0, 0.1, 3)[:, None]
    coords = {
        "text": [f"{half}{i}" for i in range(3)],
        "half": ("text", [half] * 3),
        "position_bin": [0, 128, 256, 384],
    }
    return xr.Dataset({"nats": (("text", "position_bin"), nats)}, coords=coords)


def test_a_figure_for_each_stored_measurement_and_the_same_bytes_twice(tmp_path):
    store = Store(results(tmp_path / "run"))
    run = {"pair": PAIR.as_dict(), "arm": PAIR.primary_arm}
    names = [figure.path.stem for figure in draw_stored(observe_figures.DRAWINGS, of_run(store, run), tmp_path / "one")]
    assert names == ["sink-heads", "norm-and-entropy", "rotary-frequency", "attention-share"]
    for column in COLUMNS:
        for half in HALVES:
            store.save(Cell(column, "passages", PAIR.primary_arm, half, "loss-curve"), longer(half), {})
    drawn = draw_stored(observe_figures.DRAWINGS, of_run(store, run), tmp_path / "two")
    assert [figure.path.stem for figure in drawn] == [*names, "loss-curve"]
    for figure in drawn[:-1]:
        assert figure.path.read_bytes() == (tmp_path / "one" / figure.path.name).read_bytes()


def test_frequencies_have_one_scale_of_colours_up_to_the_largest_count_against_the_planted_counts(tmp_path):
    store = Store(tmp_path)
    largest = {"rope": 3.0, "dropped": 2.0, "drope": 8.0}
    for column, count in largest.items():
        for half in HALVES:
            counts = count * np.array([[0.5, 1.0], [0.25, 0.0]]) * np.ones((2, 1, 1))
            data = xr.Dataset({"rotary_count": (("text", "layer", "pair"), counts)}).expand_dims(tensor=["query"])
            data = data.assign_coords(text=[f"{half}0", f"{half}1"], half=("text", [half] * 2))
            store.save(Cell(column, "passages", PAIR.primary_arm, half, "phenomena"), data, {})
    panels = list(Figure().subplots(1, 3))
    run = {"pair": PAIR.as_dict(), "arm": PAIR.primary_arm}
    observe_figures.paint_frequencies(panels, of_run(store, run))
    assert [axes.images[0].get_clim() for axes in panels] == [(0, 8)] * 3


def test_results_without_a_measurement_have_no_such_figure(tmp_path):
    store = Store(results(tmp_path / "run", cells=("observations", "disruption")))
    run = {"pair": PAIR.as_dict(), "arm": PAIR.primary_arm}
    names = [figure.path.stem for figure in draw_stored(observe_figures.DRAWINGS, of_run(store, run), tmp_path)]
    assert names == ["sink-heads", "norm-and-entropy"]


def test_a_panel_says_how_many_texts_are_behind_its_lines_against_hand_count():
    shares = xr.DataArray([[0.5, 0.4], [np.nan, np.nan], [np.nan, 0.2]], dims=("text", "layer"))
    assert observe_figures.having_class(shares) == 2
    assert observe_figures.texts_with({"RoPE": 32, "DroPE": 32}) == "32 texts"
    assert observe_figures.texts_with({"RoPE": 1, "DroPE": 3}) == "texts: RoPE 1, DroPE 3"


@pytest.mark.parametrize("draw", [lambda path: save(Figure(), path), lambda path: audit_figure((), path)])
def test_a_figure_that_cannot_be_written_leaves_the_old_one(draw, tmp_path, monkeypatch):
    (tmp_path / "old.svg").write_text("before")

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"expected to write .*old\.svg; got no space left on device"):
        draw(tmp_path / "old.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["old.svg"]
    assert (tmp_path / "old.svg").read_text() == "before"
