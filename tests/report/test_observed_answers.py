"""The tables of answers, on planted answers: what is planted is what stands in the cells."""

import numpy as np
import pytest
import xarray as xr

from dropeact import pairs
from dropeact.axes import HALVES
from dropeact.corpus.facts import facts
from dropeact.corpus.retrieval import FORMS
from dropeact.measured import natural
from dropeact.report.observed import tables as made
from dropeact.report.observed.answers import by_log_probability, rate, shared_length, told_apart
from dropeact.store import Cell, Store
from tests.synthetic_results import PAIR

N = 50  # prompts a half
RUN = {"pair": PAIR.as_dict(), "arm": "first"}


def retrieval(half, *, leave_out=()):
    """Half A finds every number, half B none; 40 of 50 ranked first, 25 with massive values zeroed, at 256 tokens."""
    dims, shape = ("text", "form", "length", "condition"), (N, len(FORMS), 2, 2)
    exact = np.full(shape, float(half == "A"), np.float32)
    exact[..., 1, 1] = np.nan
    scores = np.full((*shape, 4), -9.0)
    scores[:40, ..., 0, 0] = scores[:25, ..., 1, 0] = -1.0
    yes = np.full((*shape, 4), np.nan)
    yes[:, FORMS.index("plain"), :, 0] = [0.7, 0.5, 0.6, 0.4]
    yes[:, FORMS.index("plain"), :, 0, 0] += np.where(np.arange(N) % 2, 0.05, -0.05)[:, None]
    candidates = (*dims, "candidate")
    made = {
        "exact": (dims, exact),
        "substring": (dims, np.where(np.isfinite(exact), 1, exact)),
        "candidate_log_probability": (candidates, scores),
        "candidate_yes": (candidates, yes),
    }
    return xr.Dataset(
        {name: values for name, values in made.items() if name not in leave_out},
        coords={
            "text": [f"key-{half}-{n}" for n in range(N)],
            "half": ("text", [half] * N),
            "form": list(FORMS),
            "length": [256, 512],
            "condition": ["baseline", "massive"],
            "candidate": ["exact", "near-1", "near-2", "near-3"],
        },
    )


def knowledge(half):
    """Every item of the cities right, undisturbed, and half of them with massive values zeroed; sports never."""
    chosen = [item for item in facts() if item.half == half]
    correct = np.array([[item.task == "cities", item.task == "cities" and n % 2] for n, item in enumerate(chosen)])
    return xr.Dataset(
        {"correct": (("text", "condition"), correct.astype(np.int8))},
        coords={
            "text": [item.id for item in chosen],
            "half": ("text", [half] * len(chosen)),
            "task": ("text", [item.task for item in chosen]),
            "condition": ["baseline", "massive"],
        },
    )


def stored(folder, **options):
    store = Store(folder)
    for half in HALVES:
        store.save(Cell("drope", "passages", "first", half, "knowledge"), knowledge(half), {})
        for column in ("rope", "drope"):
            store.save(Cell(column, "passages", "first", half, "retrieval"), retrieval(half, **options), {})
    return store


def tabled(store):
    return made(natural(store, pairs.from_dict(dict(RUN["pair"])), arm=RUN["arm"]))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    shown = tabled(stored(tmp_path_factory.mktemp("answers")))
    return {table.title: table for tables in shown.values() for table in tables}


def rows(table, width):
    named = [((label, *cells), ["", *table.columns]) for label, cells in table.rows]
    return {row[:width]: dict(zip(head[width:], row[width:], strict=True)) for row, head in named}


def test_rates_have_wilson_intervals_against_hand_count():
    half = xr.DataArray(np.arange(100) % 2, dims="text")
    assert rate(half) == "0.50 [0.40, 0.60]"
    assert rate(half * 0) == "0.00 [0.00, 0.04]"


def test_found_ranked_and_verified_by_model_form_and_length_against_hand_count(tables):
    shown = rows(tables["Hidden numbers: answered, ranked, verified"], 3)
    assert len(shown) == 2 * 2 * 2  # models, forms, lengths
    assert shown["RoPE", "plain", "512"] == {
        "n": "100",
        "exact": "0.50 [0.40, 0.60]",
        "substring": "1.00 [0.96, 1.00]",
        "first by log-probability": "0.80 [0.71, 0.87]",
        "first by p(Yes)": "1.00 [0.96, 1.00]",
        "told apart": "0.200 ± 0.010",  # 1.984 * 0.05 * sqrt(100 / 99) / sqrt(100)
    }
    cued = shown["DroPE", "cued", "256"]
    assert (cued["first by p(Yes)"], cued["told apart"]) == ("—", "—")


def test_a_rate_that_one_half_decides_is_marked(tables):
    shown = rows(tables["The same rates in half A / half B"], 3)
    assert shown["DroPE", "plain", "256, 512"] == {
        "n": "50 / 50",
        "exact": "1.00 / 0.00 ≠",
        "substring": "1.00 / 1.00",
        "first by log-probability": "0.80 / 0.80",
        "first by p(Yes)": "1.00 / 1.00",
    }


def test_accuracy_by_condition_has_the_facts_and_the_hidden_numbers_at_the_shared_length(tables):
    table = tables["Accuracy by condition"]
    shown = rows(table, 3)
    # of the pairs of cities both are right or both wrong: 1.984 * 0.5025 / sqrt(100), as of a hundred coins
    assert shown["cities", "DroPE", "100 pairs"]["massive values zeroed"] == "0.50 [0.40, 0.60]"
    assert shown["sports", "DroPE", "50 pairs"]["undisturbed"] == "0.00 [0.00, 0.07]"  # 2.01^2 / (50 + 2.01^2)
    assert ("cities", "RoPE", "100 pairs") not in shown
    assert shown["hidden numbers, cued", "RoPE", "100"]["massive values zeroed"] == "0.50 [0.40, 0.60]"
    ranked = shown["hidden numbers, cued, ranked", "RoPE", "100"]
    assert (ranked["undisturbed"], ranked["massive values zeroed"]) == ("0.80 [0.71, 0.87]", "0.50 [0.40, 0.60]")
    assert "256 tokens" in table.caption
    assert "first token's MLP left out" not in table.columns


def test_what_an_earlier_version_did_not_store_is_a_dash_and_nothing_stored_is_no_table(tmp_path):
    store = stored(tmp_path / "old", leave_out=("substring", "candidate_log_probability"))
    (found, halves) = tabled(store)["10"]
    assert not any("ranked" in label for label, _ in tabled(store)["3"][0].rows)
    assert {row["substring"] for row in rows(found, 3).values()} == {"—"}
    assert {row["first by log-probability"] for row in rows(halves, 3).values()} == {"—"}
    assert tabled(Store(tmp_path / "empty")) == {}


def test_a_tie_is_not_first_and_what_was_not_ranked_is_nan():
    scores = xr.DataArray(
        [[-1.0, -2.0, -3.0, -4.0], [-1.0, -1.0, -3.0, -4.0], [-2.0, -1.0, -3.0, -4.0], [np.nan] * 4],
        dims=("text", "candidate"),
        coords={"candidate": ["exact", "near-1", "near-2", "near-3"]},
    )
    asked = xr.Dataset({"candidate_log_probability": scores, "candidate_yes": -scores})
    np.testing.assert_array_equal(by_log_probability(asked), [1, 0, 0, np.nan])
    np.testing.assert_allclose(told_apart(asked), [-2, -5 / 3, -2 / 3, np.nan])


def test_the_shared_length_is_the_shortest_that_no_condition_of_no_model_lacks():
    both, short = retrieval("A"), retrieval("A").isel(length=[1])
    assert shared_length([both, both]) == 256
    assert shared_length([both, short]) is None
    assert shared_length([both.isel(condition=[0]), short.isel(condition=[0])]) == 512
    assert shared_length([]) is None
