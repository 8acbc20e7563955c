"""Every figure of the accepted results says what its axes are."""

from pathlib import Path

import matplotlib as mpl
import pytest

from dropeact.measured import of_run
from dropeact.report import drawing, trajectory_figure
from dropeact.report.gallery import of_experiments
from dropeact.store import Store

RESULTS = Path(__file__).parents[2] / "results" / "smollm2-135m"


@pytest.fixture(scope="module")
def canvases(tmp_path_factory):
    """Name -> figure, laid out and not written."""
    drawn = {}
    with pytest.MonkeyPatch.context() as patch, mpl.rc_context(drawing.STYLE):
        for module in (drawing, trajectory_figure):
            patch.setattr(module, "save", lambda canvas, path: drawn.__setitem__(path.stem, canvas))
        store = Store(RESULTS)
        figures = of_experiments(of_run(store, store.read_run()), tmp_path_factory.mktemp("figures"), replace=True)
    assert drawn.keys() == {figure.path.stem for figure in figures}
    return drawn


def panels(canvas):
    return [axes for axes in canvas.axes if axes.get_subplotspec() is not None and axes.axison]


def worded(axis):
    """Whether the ticks are words, which need no title."""
    labels = [label.get_text() for label in axis.get_majorticklabels()]
    return any(any(letter.isalpha() for letter in label) for label in labels if "mathdefault" not in label)


def test_every_axis_has_a_title_or_words_and_of_panels_side_by_side_the_first(canvases):
    assert len(canvases) > 20
    for name, canvas in canvases.items():
        assert panels(canvas), name
        for axes in panels(canvas):
            assert axes.get_xlabel() or worded(axes.xaxis), name
            if axes.get_subplotspec().is_first_col():
                assert axes.get_ylabel() or worded(axes.yaxis), name


def test_no_figure_is_wider_than_a_page_shows_it(canvases):
    assert {name: canvas.get_figwidth() for name, canvas in canvases.items() if canvas.get_figwidth() > 10.3} == {}


def test_models_that_are_drawn_in_colours_are_named(canvases):
    for name, canvas in canvases.items():
        named = [axes for axes in canvas.axes if axes.get_legend() is not None]
        titled = {axes.get_title() for axes in canvas.axes}
        assert named or {"RoPE", "DroPE"} <= titled, name
