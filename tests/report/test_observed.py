"""The small tables of what is stored, on planted measurements whose numbers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dropeact import pairs
from dropeact.axes import COLUMNS, HALVES
from dropeact.measured import Measured, natural
from dropeact.measurements import uniform
from dropeact.report import observed
from dropeact.report.folder import provenance
from dropeact.report.observed import activations, balance, floor, overlaps, patterns, sinks, table, writes
from dropeact.report.render import environment
from dropeact.store import Cell, Store
from dropeact.verdicts.records import as_json, read_verdicts
from tests.synthetic_results import HEAD_DIM, HEADS, KV_HEADS, LAYERS, PAIR, WRITE, results, run_record

TEXTS = 4  # of each half
CLASSES = ["first", "massive", "ordinary"]
DISTANCES = 50
ENTROPIES = [1.0, 1.0, 1.0, 3.0]  # of the heads: their mean is no head's
LOCAL = [0.5, 0.3, 0.3, 0.3]
SPREADS = [1.0, 1.0, 1.0, 7.0]


def labels(half: str) -> dict:
    """Names of the texts of one half, and of layers and depths."""
    ids = [f"{half}{i}" for i in range(TEXTS)]
    return {"text": ids, "half": ("text", [half] * TEXTS), "layer": range(LAYERS), "depth": range(LAYERS + 1)}


def full(value: float, *shape: int) -> np.ndarray:
    """The same number in every text."""
    return np.full((TEXTS, *shape), float(value))


def observations(half: str, place: int, *, score: float) -> xr.Dataset:
    """Scores of `score`, one head at 0.2; one massive channel, another in every model; the norm is written at WRITE."""
    scores = full(score, LAYERS, HEADS, 2, 2)
    scores[:, :, 0] = 0.2
    matrices = {}
    for tensor, head, count in (("query", "head", HEADS), ("key", "kv_head", KV_HEADS), ("value", "kv_head", KV_HEADS)):
        matrix = np.ones((1, 2, LAYERS, count, HEAD_DIM)) + np.arange(HEAD_DIM) / 100
        if tensor != "value":
            matrix[..., 0, [0, place]] = 50.0
        matrices[f"{tensor}_norm"] = (("selected_on", "site", "layer", head, "dim"), matrix)
    entropy = full(2.0, LAYERS + 1)
    entropy[:, 0], entropy[:, 3] = 0.1, 0.5  # what stands before the first block is no valley
    norm = np.where(np.arange(LAYERS + 1) > WRITE, 1000.0, 10.0) * full(1, LAYERS + 1)
    data = xr.Dataset(
        matrices
        | {
            "sink_score": (("text", "layer", "head", "length", "convention"), scores),
            "attention_entropy": (("text", "layer", "head"), full(1, LAYERS, HEADS) * ENTROPIES),
            "attention_entropy_normalised": (("text", "layer", "head"), full(0.4, LAYERS, HEADS) * ENTROPIES),
            "first_norm": (("text", "depth"), norm),
            "entropy": (("text", "depth"), entropy),
            "anisotropy": (("text", "depth"), full(0.9, LAYERS + 1)),
        },
        coords=labels(half)
        | {
            "length": [64, 512],
            "convention": ["without_first_query", "with_first_query"],
            "selected_on": [half],
            "site": ["attended", "projected"],
        },
    )
    return data.assign_attrs(rank_bound=int(np.exp(5)))


def phenomena(half: str, *, rotated: bool) -> xr.Dataset:
    """Write shares that peak at layer 4, a massive token in one text, the largest activation in channel 7 mostly.

    That is after block WRITE; at any other depth the activations are in channel 9, and more of them massive.
    """
    share, massive = full(0.1, LAYERS, HEADS), full(0.3, LAYERS, 3)
    share[:, 4], share[:, WRITE] = 0.6, 0.2
    massive[1 if half == "A" else 0 :, :, 1] = np.nan
    channel = np.full((TEXTS, LAYERS + 1, 3), 7)
    value = full(100.0, LAYERS + 1, 3) + np.arange(TEXTS)[:, None, None]
    if half == "B":
        channel[0], value[0] = 3, 1e6
    elsewhere = np.arange(LAYERS + 1) != WRITE + 1
    channel[:, elsewhere] = 9
    massive_count = np.where(elsewhere, 9, 2) * full(1, LAYERS + 1)
    median = np.where(elsewhere, 9, 0.05) * full(1, LAYERS + 1)
    length = np.stack([full(20.0, LAYERS), full(20.0 if rotated else 10.0, LAYERS)], -1)
    by_head, by_kv, by_class = ("text", "layer", "head"), ("text", "layer", "kv_head"), ("text", "layer", "token_class")
    return xr.Dataset(
        {
            "write_share": (by_head, share),
            "first_value_norm": (by_kv, full(1.0, LAYERS, KV_HEADS)),
            "other_value_norm": (by_kv, full(4.0, LAYERS, KV_HEADS)),
            "local_mass": (by_head, full(1, LAYERS, HEADS) * LOCAL),
            "distance_mass": (
                ("selected_on", "layer", "head", "distance"),
                np.broadcast_to(1 / (1 + np.arange(DISTANCES)), (1, LAYERS, HEADS, DISTANCES)),
            ),
            "logit_spread": (by_head, full(1, LAYERS, HEADS) * SPREADS),
            "key_head_norm": (by_kv, full(1, LAYERS, KV_HEADS) * [4.0, 8.0]),
            "key_centred_norm": (by_kv, full(1, LAYERS, KV_HEADS) * [4.0, 6.0]),
            "query_length": (("text", "layer", "site"), length),
            "key_length": (("text", "layer", "site"), length),
            "attention_share": (by_class, massive),
            "attention_projection": (by_class, massive - 0.4),
            "activation_value": (("text", "depth", "rank"), value),
            "activation_channel": (("text", "depth", "rank"), channel),
            "activation_token": (("text", "depth", "rank"), np.zeros_like(channel)),
            "activation_median": (("text", "depth"), median),
            "massive_activation_count": (("text", "depth"), massive_count),
        },
        coords=labels(half)
        | {
            "token_class": CLASSES,
            "site": ["attended", "projected"],
            "rank": [1, 2, 3],
            "distance": range(DISTANCES),
            "selected_on": [half],
        },
    )


def stored_floor(**changes: list[float]) -> xr.Dataset:
    """A stored noise floor: changes by repeat, batch and precision."""
    data = {f"absolute_{name}": ("comparison", values) for name, values in changes.items()}
    return xr.Dataset(data, coords={"comparison": ["repeat", "batch", "precision"]})


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Measured:
    store = Store(tmp_path_factory.mktemp("observed"))
    store.write_run(run_record(PAIR, 2 * TEXTS))
    for i, column in enumerate(COLUMNS):
        for half in HALVES:
            for arm in ("first", "bos"):
                seen = observations(half, i + 1, score=0.8 if arm == "first" else 0.1)
                store.save(Cell(column, "passages", arm, half, "observations"), seen, {})
            store.save(
                Cell(column, "passages", "first", half, "phenomena"), phenomena(half, rotated=column != "drope"), {}
            )
    still = stored_floor(entropy=[0, 1e-6, 0.5], massive_count=[0, 0, 0], first_norm=[0, np.nan, 2])
    store.save(Cell("rope", "passages", "first", "A", "noise-floor"), still, {})
    return natural(store, PAIR)


def cells(found: table.Table | None) -> dict[str, list[str]]:
    assert found is not None
    return dict(found.rows)


def test_overlap_of_planted_channels_against_hand_count(measured):
    found = overlaps.overlaps(measured)
    assert found is not None
    assert found.columns == ["RoPE and just dropped", "RoPE and DroPE"]
    shown = cells(found)
    # two massive channels a layer, one of them shared: 1 of 3
    assert shown["massive channels in common: Query"] == ["0.333 (0.333 to 0.333)"] * 2
    assert "massive channels in common: Value" not in shown  # no model has one
    assert shown["cosine of norms: Value"] == ["1.00 (1.00 to 1.00)"] * 2


def test_models_with_different_numbers_of_kv_heads_have_channels_of_queries_alone_in_common(tmp_path):
    store = Store(tmp_path)
    store.write_run(run_record(PAIR, 2 * TEXTS))
    for i, column in enumerate(COLUMNS):
        for half in HALVES:
            seen = observations(half, i + 1, score=0.5)
            seen = seen.isel(kv_head=[0]) if column == "drope" else seen
            store.save(Cell(column, "passages", "first", half, "observations"), seen, {})
    shown = cells(overlaps.overlaps(natural(store, PAIR)))
    assert shown["massive channels in common: Query"] == ["0.333 (0.333 to 0.333)"] * 2
    assert shown["cosine of norms: Key"] == [shown["cosine of norms: Key"][0], table.NONE]
    assert shown["cosine of norms: Key"][0] != table.NONE


def test_sinks_excess_and_uniform_reference_against_the_planted_scores(measured):
    shown = cells(sinks.conventions(measured))
    share = (HEADS - 1) / HEADS  # all heads but the one at 0.2
    mean = 0.2 / HEADS + 0.8 * share
    assert shown["share of sinks: 64 tokens, first query left out"] == [f"{share:.3f} ± 0.000"] * 3
    assert shown["score: 512 tokens, first query included (uniform 0.013)"] == [f"{mean:.3f} ± 0.000"] * 3
    expected = uniform.excess(mean, 64, with_first_query=False)
    assert shown["excess: 64 tokens"] == [f"{expected:.3f} ± 0.000"] * 3


def test_arms_stand_side_by_side_on_the_same_texts_and_a_missing_one_is_left_out(measured):
    found = sinks.first_tokens(measured)
    shown = cells(found)
    assert shown["share of sinks: first arm"] == ["0.750 ± 0.000"] * 3
    assert shown["share of sinks: bos arm"] == ["0.000 ± 0.000"] * 3
    assert not [label for label in shown if "separator" in label]
    assert found is not None
    assert "the same 8 texts" in found.caption


def test_valley_leaves_the_embeddings_out_against_hand_count(measured):
    shown = cells(sinks.valley(measured))
    assert shown["smallest entropy (nats)"] == ["0.500 ± 0.000"] * 3
    assert shown["the same as a share of its largest value"] == [f"{0.5 / np.log(148):.3f} ± 0.000"] * 3


def test_writes_at_w_over_layers_and_at_their_peak_against_hand_count(measured):
    shown = cells(writes.writes(measured))
    assert shown["write share of the first token, at w"] == ["0.200 ± 0.000"] * 3
    assert (
        shown["write share of the first token, mean over layers"] == ["0.200 ± 0.000"] * 3
    )  # (4 x 0.1 + 0.2 + 0.6) / 6
    assert shown["write share of the first token, largest"] == ["0.600 ± 0.000 at layer 4"] * 3
    assert shown["norm of its value beside the others', at w"] == ["0.250 ± 0.000"] * 3


def test_classes_of_heads_against_hand_count(measured):
    shown = cells(patterns.classes(measured))
    assert shown == {
        "sink": ["0.750"] * 3,
        "local": ["0.250"] * 3,
        "distributed": ["0.000"] * 3,
        "mixed": ["0.000"] * 3,
    }


def test_patterns_are_means_over_heads_beside_uniform_attention_against_hand_count(measured):
    shown = cells(patterns.patterns(measured))
    # (1 + 1 + 1 + 3) / 4, 0.4 of it, and (0.5 + 3 x 0.3) / 4
    assert shown[f"entropy in nats (uniform {uniform.attention_entropy(512):.2f})"] == ["1.50 ± 0.000"] * 3
    assert shown["entropy as a share of its largest value (uniform 1)"] == ["0.600 ± 0.000"] * 3
    local = f"to the five keys before the query, together (uniform {uniform.local_mass(512):.3f})"
    assert shown[local] == ["0.350 ± 0.000"] * 3
    assert shown[f"at distance 49 (uniform {uniform.distance_mass(512, 49):.4f})"] == ["0.020"] * 3


def test_sites_stand_apart_only_where_a_model_tells_them_apart(measured):
    apart = cells(balance.at_write(measured)[0])
    assert apart["query length, projected"] == ["20.0 ± 0.000", "20.0 ± 0.000", "10.0 ± 0.000"]
    assert not [label for label in apart if "either site" in label]


def test_logits_and_keys_are_means_over_heads_against_hand_count(measured):
    for found in (balance.at_write(measured)[0], balance.over_layers(measured)[0]):
        shown = cells(found)
        assert shown["logit spread"] == ["2.50 ± 0.000"] * 3  # (1 + 1 + 1 + 7) / 4
        assert shown["key norm"] == ["6.00 ± 0.000"] * 3  # (4 + 8) / 2
        assert shown["key norm, centred"] == ["5.00 ± 0.000"] * 3  # (4 + 6) / 2


def test_shares_say_how_many_texts_have_a_token_of_the_class(measured):
    shown = cells(balance.at_write(measured)[1])
    assert shown["ordinary tokens, by projection"] == ["-0.100 ± 0.000"] * 3
    assert shown["others with a massive activation, by norms"] == ["0.300 (1 of 8 texts)"] * 3


def test_the_place_of_massive_activations_and_how_constant_they_are_against_hand_count(measured):
    # channel 7 in all but one text; values 100..103 in half A, 101..103 in half B
    values = [100, 101, 102, 103, 101, 102, 103]
    expected = f"{np.mean(values):.0f} ± {np.std(values, ddof=1):.2f} (channel 7, token 0; 7 of 8)"
    shown = cells(activations.activations(measured))
    assert shown["largest activation"] == [expected] * 3
    assert shown["massive activations in a text"] == ["2.00 ± 0.000"] * 3
    assert shown["median activation of a text"] == ["0.050 ± 0.000"] * 3


def test_noise_floor_by_comparison_and_what_counts_against_hand_count(measured):
    found = floor.noise(measured)
    assert found is not None
    assert found.comparisons == ["one by one or together", "bfloat16"]
    assert dict(found.rows) == {"entropy": ["1.00e-06", "0.500"], "first_norm": ["—", "2.00"]}
    assert "bfloat16 changes does not count" in found.caption
    assert "Nothing at all changed in: the same pass again." in found.caption
    assert "In no comparison changed: massive_count." in found.caption


def test_a_floor_without_a_number_is_null_and_relative_changes_are_no_floor(measured):
    view = natural(measured.store, PAIR)
    view.__dict__["noise"] = {"absolute_entropy": np.nan, "relative_entropy": 0.1}
    assert observed.floors(view) == {"entropy": None}


def test_verdicts_carry_the_noise_floor_and_older_ones_are_read_as_they_are(measured, tmp_path):
    run = measured.store.read_run()
    mine = provenance(measured, run)
    assert mine["noise_floor"] == {"entropy": 1e-6, "first_norm": 0.0, "massive_count": 0.0}
    assert "schema" not in mine
    file = tmp_path / "verdicts.json"
    file.write_text(as_json([], mine))
    assert json.loads(file.read_text())["schema"] == 1
    assert read_verdicts(file)[1] == mine
    file.write_text(as_json([], {key: value for key, value in mine.items() if key != "noise_floor"}))
    assert "noise_floor" not in read_verdicts(file)[1]


def test_what_is_not_stored_is_left_out_row_by_row_and_table_by_table(tmp_path):
    core = natural(Store(results(tmp_path / "core", cells=("observations",), corpora=("passages",))), PAIR)
    found = observed.tables(core)
    assert set(found) == {"1", "4"}
    assert [label for label, _ in found["4"][-1].rows] == ["smallest entropy (nats)"]  # neither rank nor anisotropy
    assert observed.noise(core) is None
    assert observed.floors(core) == {}
    bare = Store(tmp_path / "bare")
    bare.write_run(run_record(PAIR, 0))
    assert observed.tables(natural(bare, PAIR)) == {}


def test_a_bar_in_a_name_does_not_end_a_cell_of_the_report():
    drawn = table.Table("1", "Title", "Caption.", ["RoPE"], [("norm |h|", ["1.00"])])
    lines = environment().get_template("observed.md.j2").render(tables=[drawn]).splitlines()
    assert lines[:3] == ["| | RoPE |", "|---|---|", "| norm \\|h\\| | 1.00 |"]
    assert "*Title.* Caption." in lines


def test_spread_against_hand_count():
    values = xr.DataArray([1.0, 2.0, 3.0, np.nan], dims="text")
    assert table.spread(values) == "2.00 ± 2.48 (3 of 4 texts)"  # t(0.975, 2) / sqrt(3)
    assert table.spread(values * np.nan) == table.NONE


def test_accepted_results_have_every_table():
    folder = Path(__file__).parents[2] / "results" / "smollm2-135m"
    store = Store(folder)
    run = store.read_run()
    found = observed.tables(natural(store, pairs.from_dict(run["pair"]), arm=run["arm"]))
    answers = {key: found.pop(key) for key in ("3", "10")}
    by_model = [t for tables in found.values() for t in tables if t.title != "Channels that stand out in both models"]
    assert all(t.columns == ["RoPE", "just dropped", "DroPE"] for t in by_model)
    assert {key: len(tables) for key, tables in answers.items()} == {"3": 1, "10": 2}
    assert {key: len(tables) for key, tables in found.items()} == {
        "1": 2,
        "4": 3,
        "5": 1,
        "7": 2,
        "8": 2,
        "9": 2,
        "upstream": 1,
    }
