import numpy as np
import pytest
import xarray as xr

from dropeact.axes import COLUMNS, HALVES, REBUILDINGS
from dropeact.measured import of_run
from dropeact.report.contrasts import contrasts
from dropeact.store import Cell, Store
from tests.synthetic_results import LAYERS, PAIR, results, text_ids

RUN = {"pair": PAIR.as_dict(), "arm": PAIR.primary_arm}
SINKS = {"as used": {"rope": 0.6, "drope": 0.8, "dropped": 0.7}, "without rotation": dict.fromkeys(COLUMNS, 0.9)}
FIRST_QUERY = 0.1  # what taking the first query in adds to the rates of 64 tokens
ENTROPY = {  # by padding, of each model its own
    "unpadded": {"rope": 2.0, "drope": 3.0, "dropped": 4.0},
    "padded": {"rope": 0.5, "drope": 0.7, "dropped": 0.9},
}
SHARES = {"attention_share_of_means": 0.1, "attention_share": 0.4, "attention_norm": 1.0, "mlp_norm": 3.0}


def read_outs(column, half):
    """Sink rates by rebuilding, and a whole rate of 1 in prompts of fewer than 64 tokens; entropies by padding."""
    rates = np.ones((2, LAYERS, 2, 5, 2))
    for i, name in enumerate(REBUILDINGS):
        rates[:, :, i, 4] = SINKS[name][column] + np.array([0.0, FIRST_QUERY])
    entropies = np.broadcast_to([of_model[column] for of_model in ENTROPY.values()], (2, LAYERS + 1, 2))
    return xr.Dataset(
        {
            "sink_rate": (("text", "layer", "rebuilding", "length", "convention"), rates),
            "padding_entropy": (("text", "depth", "padding"), entropies),
        },
        coords={
            "text": [f"{half}{i}" for i in range(2)],
            "half": ("text", [half] * 2),
            "rebuilding": list(REBUILDINGS),
            "length": [6, 7, 8, 9, 64],
            "convention": ["without_first_query", "with_first_query"],
            "padding": list(ENTROPY),
        },
    )


def shares(ids, half):
    """Shares and norms as planted, in every layer and class of tokens."""
    dims, shape = ("text", "layer", "token_class"), (len(ids), LAYERS, 2)
    planted = {name: (dims, np.full(shape, value)) for name, value in SHARES.items()}
    labels = {"half": ("text", [half] * len(ids)), "layer": range(LAYERS), "token_class": ["first", "ordinary"]}
    data = xr.Dataset(planted, coords={"text": ids} | labels)
    return data.assign(attention_share_of_means=data["attention_share_of_means"].isel(token_class=0, drop=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    found = Store(results(tmp_path_factory.mktemp("c"), cells=("observations", "disruption"), corpora=("passages",)))
    for column in COLUMNS:
        for half in HALVES:
            cell = Cell(column, "passages", PAIR.primary_arm, half, "contrasts")
            found.save(cell, read_outs(column, half), {})
            cell = Cell(column, "passages", PAIR.primary_arm, half, "phenomena")
            found.save(cell, shares(text_ids("passages", half, 16), half), {})
    return found


def test_both_readings_against_the_planted_numbers(store):
    rows = {(row.defect.split()[0], row.number.split()[0]): row for row in contrasts(of_run(store, RUN))}
    rebuilt = rows["attention", "sink"]
    assert rebuilt.published == pytest.approx((0.9, 0.9))
    assert rebuilt.sound == pytest.approx((0.6, 0.8))
    padded = rows["the", "smallest"]  # the later row of two: with and without the first token
    assert padded.sound.rope - padded.published.rope == pytest.approx(2, abs=0.05)
    by_padding = next(row for row in contrasts(of_run(store, RUN)) if "padded" in row.defect)
    assert (by_padding.published, by_padding.sound) == ((0.5, 3.0), (2.0, 3.0))


def test_each_row_of_sink_rates_changes_one_thing_against_the_planted_numbers(store):
    short, first = (
        row for row in contrasts(of_run(store, RUN)) if row.defect.startswith(("prompts", "the first query"))
    )
    assert (short.published, short.sound) == ((1, 1), pytest.approx((0.7, 0.9)))
    assert first.published == short.sound
    assert first.sound == pytest.approx((0.6, 0.8))


def test_tokens_and_ratios_are_averaged_in_two_rows_against_the_planted_numbers(store):
    tokens, ratios = (row for row in contrasts(of_run(store, RUN)) if row.number.startswith("attention's share"))
    assert tokens.published == pytest.approx((0.1, 0.1))
    assert tokens.sound == ratios.published == pytest.approx((0.25, 0.25))
    assert ratios.sound == pytest.approx((0.4, 0.4))


def test_percent_and_nats_of_one_loss_against_hand_count(store):
    row = next(row for row in contrasts(of_run(store, RUN)) if row.defect.startswith("percent"))
    assert row.sound == pytest.approx((1.5, 1.5), abs=0.02)
    assert row.published == pytest.approx(tuple(100 * (np.exp(nats) - 1) for nats in row.sound))


def test_what_was_not_measured_has_no_row(tmp_path):
    bare = Store(results(tmp_path, cells=("observations",), corpora=("passages",)))
    assert [row.defect.split()[0] for row in contrasts(of_run(bare, RUN))] == ["the"]
