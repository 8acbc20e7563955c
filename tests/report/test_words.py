"""Numbers and names as a reader sees them."""

from dataclasses import replace
from pathlib import Path

import pytest

from dropeact.report import words
from dropeact.verdicts.records import read_verdicts

RESULTS = Path(__file__).parents[2] / "results" / "smollm2-135m"


@pytest.fixture
def record():
    return read_verdicts(RESULTS / "verdicts.json")[0][0]


def test_a_part_has_its_interval_as_far_as_it_has_one(record):
    ends = {"label": "key", "estimate": 0.5, "low": None, "high": 0.75}
    assert words.parts(replace(record, parts=[ends])) == "key 0.500 [−∞, 0.750]"
    assert words.parts(replace(record, parts=[ends | {"high": None}])) == "key 0.500 [−∞, ∞]"
    assert words.parts(replace(record, parts=[ends | {"low": 0.5, "high": 0.5}])) == "key 0.500 exact"


def test_a_published_figure_is_the_same_in_the_table_and_below_it(record):
    printed = replace(record, label="", published={"ratio": 1249.0, "baseline": 1475.5})
    assert words.headline(printed) == "1,249×"
    assert words.published(printed) == "ratio 1,249; baseline 1,475.5"


def test_the_two_records_of_a_claim_have_anchors_of_their_own(record):
    assert words.anchor(replace(record, kind="magnitude")) == f"{record.id}-magnitude"
    assert words.anchor(replace(record, kind="direction")) == words.anchor(replace(record, kind="equivalence"))


def test_places_are_named_and_counts_are_separated(record):
    printed = replace(record, published={"llama2_7b_dims": [1415, 2533], "baseline": 1475})
    assert words.published(printed) == "Llama-2-7B, channels 1415, 2533; baseline 1,475"
