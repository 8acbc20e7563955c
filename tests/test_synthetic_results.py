"""What claims are tested on has nothing that a measurement lacks: a claim that reads more would fail there alone."""

from dataclasses import replace

import numpy as np
import pytest

from dropeact import bundled
from dropeact.store import Store
from tests import synthetic_results as synthetic

ACCEPTED = Store(bundled.folder("results") / "smollm2-135m")
ONLY_PUBLISHED = {"published_disruption"}  # compared in tests/measurements/test_published_disruption.py


@pytest.mark.parametrize("name", sorted(set(synthetic.MADE) - ONLY_PUBLISHED))
def test_planted_cells_have_the_variables_and_dimensions_of_measured_ones_against_the_accepted_results(name):
    ids = synthetic.text_ids("passages", "A", 16)
    planted = synthetic.MADE[name](np.random.default_rng(0), ids, "A", {})
    measured = ACCEPTED.load("rope", "passages", "first", name)
    assert set(planted.variables) <= set(measured.variables)
    for variable in planted.data_vars:
        assert set(planted[variable].dims) == set(measured[variable].dims), variable


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_results_asked_for_again_are_a_copy_of_their_own_against_those_that_are_written_anew(tmp_path):
    asked = {"texts": 4, "cells": ("observations",), "plant": {"drope": {"sink": 0.1}}}
    first, again = (synthetic.results(tmp_path / name, **asked) for name in ("first", "again"))
    anew = synthetic._made(tmp_path / "anew", **asked)
    assert contents(first) == contents(again) == contents(anew)
    (first / "run.json").write_text("{}")
    assert contents(synthetic.results(tmp_path / "third", **asked)) == contents(again) == contents(anew)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"plant": {"drope": {"sink": 0.2}}}, {"pair": replace(synthetic.PAIR, primary_arm="bos")}]
)
def test_results_that_differ_in_anything_asked_are_not_copies(other, tmp_path):
    asked = {"texts": 4, "cells": ("observations",), "plant": {"drope": {"sink": 0.1}}}
    one, two = synthetic.results(tmp_path / "one", **asked), synthetic.results(tmp_path / "two", **(asked | other))
    assert contents(one) != contents(two)


@pytest.mark.parametrize("nowhere", [float("inf"), np.arange(2000.0)], ids=["inf", "array"])
def test_results_whose_arguments_have_no_text_of_their_own_are_not_kept(nowhere, tmp_path):
    before = dict(synthetic.KEPT)
    synthetic.results(tmp_path, texts=4, cells=("observations",), plant={"drope": {"unread": nowhere}})
    assert before == synthetic.KEPT
