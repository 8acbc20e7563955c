"""Claims about answers, judged on planted answers: what is planted is what comes out."""

import shutil

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from dropeact.axes import COLUMNS, HALVES
from dropeact.corpus.facts import facts
from dropeact.corpus.retrieval import DEPTHS, ERRORS, FORMS, KEYS
from dropeact.measured import of_run
from dropeact.pairs import Pair
from dropeact.report import knowledge_figures, retrieval_figures
from dropeact.report.drawing import draw_stored
from dropeact.store import Cell, Store
from dropeact.verdicts.engine import judge
from dropeact.verdicts.registry import load_claims
from tests.synthetic_results import PAIR, results, run_record

CONDITIONS = ("baseline", "massive", "first-mlp", "combined", "random")
PLANTED = {
    "rope": {
        "cities": {"baseline": 0.95, "massive": 0.90, "first-mlp": 0.5, "random": 0.94},
        "sports": {"baseline": 0.85, "massive": 0.80, "first-mlp": 0.5, "random": 0.85},
        "reviews": {"baseline": 0.90, "massive": 0.55, "first-mlp": 0.48, "random": 0.90},
        "passkey": {"baseline": 0.98, "massive": 0.02, "first-mlp": 0.0, "random": 0.98},
    },
    "drope": {
        "cities": {"baseline": 0.90, "massive": 0.90, "first-mlp": 0.90},
        "sports": {"baseline": 0.80, "massive": 0.80, "first-mlp": 0.80},
        "reviews": {"baseline": 0.85, "massive": 0.83, "first-mlp": 0.85},
        "passkey": {"baseline": 0.64, "massive": 0.64, "first-mlp": 0.64},
    },
}
RANKED = {"baseline": 0.9, "massive": 0.4}  # of the prompts of either half, in both models


def share(rates, condition, n):
    """Exactly the planted share of n items right: the same items first, so that conditions are paired."""
    return (np.arange(n) < round(rates.get(condition, rates["baseline"]) * n)).astype(float)


def knowledge(column, half):
    chosen = [item for item in facts() if item.half == half]
    correct = np.zeros((len(chosen), len(CONDITIONS)), np.int8)
    for task, rates in PLANTED[column].items():
        places = [i for i, item in enumerate(chosen) if item.task == task]
        for j, condition in enumerate(CONDITIONS):
            right = share(rates, condition, len(places))
            correct[places, j] = right if half == "A" else right[::-1]  # of few pairs both facts are wrong
    removed = [150.0, 150.0, 1.4, 1.4, 150.0]
    return xr.Dataset(
        {
            "correct": (("text", "condition"), correct),
            "log_odds": (("text", "condition"), np.where(correct, 1.0, -1.0)),
            "answer_correct": (("text", "condition"), correct),
            "answer": (("text", "condition"), np.where(correct, 1, -1).astype(np.int8)),
            "first_ratio": (("selected_on", "condition"), [removed]),
            "sink_rate": (("selected_on", "condition"), [[0.9, 0.9, 0.1, 0.1, 0.9]]),
        },
        coords={
            "text": np.array([item.id for item in chosen]),
            "half": ("text", np.array([half] * len(chosen))),
            "task": ("text", np.array([item.task for item in chosen])),
            "condition": list(CONDITIONS),
            "selected_on": np.array([half]),
        },
    )


def retrieval(column, half):
    n = len(DEPTHS) * KEYS // 2
    exact = np.zeros((n, 2, 2, len(CONDITIONS)), np.float32)
    for j, condition in enumerate(CONDITIONS):
        right = share(PLANTED[column]["passkey"], condition, n)
        exact[..., j] = right[:, None, None]
        exact[:, 1, 1, j] *= np.arange(n) < right.sum() - 10  # announced and longer: ten fewer, more than chance has
    other = ERRORS.index("more digits wrong")
    error = np.where(exact == 1, 0, np.where(np.arange(n)[:, None, None, None] % 10 == 9, other, 2)).astype(np.int8)
    yes = np.full((n, 2, 2, len(CONDITIONS), 4), 0.5)
    yes[..., 1] = 0.51
    for length, remainder in enumerate((0, 2)):  # in one of four prompts the exact number has the largest p(Yes)
        yes[np.arange(n) % 4 == remainder, :, length, :, 0] = 0.52
    if column == "rope":
        yes[..., 0] = 0.52
    scores = np.full(yes.shape, -9.0)
    scores[: round(RANKED["baseline"] * n), ..., 0] = -8.0
    scores[round(RANKED["massive"] * n) :, :, :, CONDITIONS.index("massive"), 0] = -10.0
    names = [f"key-{half}-{i}" for i in range(n)]
    dims = ("text", "form", "length", "condition")
    candidates = (*dims, "candidate")
    answered = {"exact": (dims, exact), "error": (dims, error)}
    return xr.Dataset(
        answered | {"candidate_yes": (candidates, yes), "candidate_log_probability": (candidates, scores)},
        coords={
            "text": np.array(names),
            "half": ("text", np.array([half] * n)),
            "needle_depth": ("text", np.repeat(DEPTHS, n // len(DEPTHS))),
            "form": np.array(FORMS),
            "length": np.array([256, 512]),
            "condition": list(CONDITIONS),
            "candidate": np.array(["exact", "near-1", "near-2", "near-3"]),
        },
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = results(tmp_path_factory.mktemp("behaviour"))
    pair = Pair(**{**PAIR.as_dict(), "limits": (), "training_length": 2048})
    store = Store(folder)
    for half in HALVES:
        for column in COLUMNS:
            if column in PLANTED:
                store.save(Cell(column, "passages", "first", half, "knowledge"), knowledge(column, half), {})
                store.save(Cell(column, "passages", "first", half, "retrieval"), retrieval(column, half), {})
    store.write_run(run_record(pair, 32) | {"sets": ["core", "behaviour"]})
    return folder


@pytest.fixture(scope="module")
def records(planted):
    chosen = {name: claim for name, claim in load_claims().items() if claim.set in ("behaviour", "long")}
    return {record.id: record for record in judge(planted, claims=chosen)}


@pytest.mark.parametrize(
    "name",
    [
        "knowledge-rope-contextual-loss",
        "knowledge-drope-robust",
        "knowledge-drope-parametric-unharmed",
        "jin-contextual-over-parametric",
        "passkey-rope-collapses",
        "passkey-drope-unaffected",
        "bos-mlp-accuracy-rope",
        "bos-mlp-accuracy-drope",
        "retrieval-rope-within",
        "retrieval-truncation-dominates",
        "retrieval-ranking",
        "retrieval-verification",
    ],
)
def test_a_planted_effect_is_supported(records, name):
    assert records[name].verdict == "supported", records[name]


def test_too_many_near_misses_are_too_many_and_no_effect_too_small(planted, monkeypatch):
    load = Store.load

    def near(self, column, corpus, arm, measurement):
        data = load(self, column, corpus, arm, measurement)
        if measurement == "retrieval":
            nearly = xr.DataArray(np.arange(data.sizes["text"]) % 20 < 9, dims="text")
            data["error"] = data["error"].where(data["error"] == 0, xr.where(nearly, 4, 2))
        return data

    monkeypatch.setattr(Store, "load", near)
    id = "retrieval-truncation-dominates"
    record = judge(planted, claims={id: load_claims()[id]})[0]
    assert (record.verdict, record.reason) == ("contradicted", "near miss: too large")


def test_a_planted_absence_is_contradicted(records):
    assert records["qk-disruption-passkey-both"].verdict == "contradicted"
    assert records["retrieval-prompt-sensitivity"].verdict == "contradicted"


@pytest.mark.parametrize("name", ["passkey-rope-collapses", "passkey-drope-unaffected", "qk-disruption-passkey-both"])
def test_how_a_number_is_ranked_stands_beside_how_often_it_is_written(records, name):
    model = "RoPE" if "rope-collapses" in name else "DroPE"
    said = f"By log-probability {model} ranks the right number above three near misses in 0.90 of the prompts"
    assert f"{said} of 256 tokens (both forms), disrupted in 0.40 (chance 0.25)." in records[name].remarks


def test_lengths_beyond_training_that_were_not_asked_for_are_not_measured(records):
    for name in ("retrieval-rope-collapses-beyond", "retrieval-drope-beyond", "gelberg-extends-context"):
        assert records[name].verdict == "not measured"


def test_lost_share_of_planted_tasks_against_hand_count(records):
    contextual = ((0.90 - 0.55) / 0.40 + (0.98 - 0.02) / 0.98) / 2
    parametric = ((0.95 - 0.90) / 0.45 + (0.85 - 0.80) / 0.35) / 2
    # 25 reviews a half: 0.55 of 50 and 0.9 of 50 are whole numbers of items, and so are the others
    assert records["knowledge-rope-contextual-loss"].estimate == pytest.approx(contextual - parametric, abs=0.02)


def drawn(folder, into):
    store = Store(folder)
    drawings = knowledge_figures.DRAWINGS | retrieval_figures.DRAWINGS
    return draw_stored(drawings, of_run(store, store.read_run()), into)


def test_every_figure_is_drawn_from_planted_answers_and_none_without_them(planted, tmp_path):
    figures = drawn(planted, tmp_path)
    names = ["knowledge", "parsing", "ranking", "retrieval", "retrieval-errors"]
    assert [figure.path.stem for figure in figures] == names
    assert all(figure.path.read_text().startswith("<?xml") for figure in figures)
    assert drawn(results(tmp_path / "core"), tmp_path) == []


def test_ranking_is_drawn_where_it_was_measured_and_left_out_elsewhere_against_hand_count(planted):
    asked = Store(planted).load("drope", "passages", "first", "retrieval").sel(form="cued", length=256)
    shown = retrieval_figures.ranked(asked).mean("text")
    assert shown.sel(condition=["baseline", "massive"]).values.tolist() == [0.9, 0.4]
    unranked = asked.assign(candidate_log_probability=asked["candidate_log_probability"].where(False))
    for old in (unranked, asked.drop_vars("candidate_log_probability")):
        assert retrieval_figures.ranked(old).isnull().all()


def test_long_texts_are_drawn_among_the_others_against_hand_count(planted, tmp_path):
    shutil.copytree(planted, folder := tmp_path / "long")
    store = Store(folder)
    for half in HALVES:
        asked = retrieval("rope", half).sel(condition=["baseline"]).isel(length=[0], text=slice(0, 5))
        for length in (4096, 8192):
            longer = asked.assign(exact=asked["exact"] * (length < 5000)).assign_coords(length=[length])
            store.save(Cell("rope", "passages", "first", half, f"long_retrieval.{length}"), longer, {})
    panels = Figure().subplots(1, 2)
    retrieval_figures.paint_retrieval(panels, of_run(store, store.read_run()))
    drawn = {bars.get_label(): bars.lines[0] for bars in panels[0].containers}
    beside = np.array([retrieval_figures.ASIDE, 1])  # left of the length RoPE, right of it DroPE
    rope, drope = (drawn[f"{model}, plain"].get_xydata() for model in ("RoPE", "DroPE"))
    assert rope * beside == pytest.approx(np.array([[256, 0.98], [512, 0.98], [4096, 1], [8192, 0]]))
    assert drope / beside == pytest.approx(np.array([[256, 0.64], [512, 0.64]]))
    by_depth = next(line for line in panels[1].get_lines() if len(line.get_xdata()) == len(DEPTHS))
    assert by_depth.get_ydata() == pytest.approx([1, 1, 1, 1, 0.9])  # at 512 tokens: of ten prompts a half and depth


@pytest.mark.parametrize(
    ("lengths", "verdict"), [((1024, 4096), "supported"), ((4096, 8192), "supported"), ((512,), "not applicable")]
)
def test_long_claims_take_what_is_within_training_from_long_prompts_where_some_are(tmp_path, lengths, verdict):
    folder, store = results(tmp_path), Store(tmp_path)
    for half in HALVES:
        for column in PLANTED:
            asked = retrieval(column, half).sel(condition=["baseline"])
            if 1024 not in lengths:
                store.save(Cell(column, "passages", "first", half, "retrieval"), asked, {})
            for length in lengths:
                beyond = asked.isel(length=[0]).assign_coords(length=[length])
                if column == "rope" and length > 2048:
                    beyond = beyond.assign(exact=beyond["exact"] * 0)
                store.save(Cell(column, "passages", "first", half, f"long_retrieval.{length}"), beyond, {})
    pair = Pair(**{**PAIR.as_dict(), "limits": (), "training_length": 2048})
    store.write_run(run_record(pair, 32) | {"sets": ["core", "long"]})
    chosen = {name: claim for name, claim in load_claims().items() if claim.set == "long"}
    records = {record.id: record for record in judge(folder, claims=chosen)}
    assert {id: record.verdict for id, record in records.items()} == dict.fromkeys(chosen, verdict)
    if verdict == "supported":
        asked = " and ".join(f"{length:,}" for length in lengths if length > 2048)
        assert records["retrieval-drope-beyond"].unit == f"share of prompts of {asked} tokens"


@pytest.mark.parametrize("fewer", ["long", "short"])
def test_fewer_long_prompts_are_compared_with_the_same_short_ones(fewer, tmp_path):
    folder, store = results(tmp_path), Store(tmp_path)
    for half in HALVES:
        for column in PLANTED:
            short = retrieval(column, half).sel(condition=["baseline"])
            beyond = short.isel(length=[0]).assign_coords(length=[4096])
            few, some = slice(0, 10), {"long": beyond, "short": short}
            some[fewer] = some[fewer].isel(text=few)
            store.save(Cell(column, "passages", "first", half, "retrieval"), some["short"], {})
            store.save(Cell(column, "passages", "first", half, "long_retrieval.4096"), some["long"], {})
    pair = Pair(**{**PAIR.as_dict(), "limits": (), "training_length": 2048})
    store.write_run(run_record(pair, 32) | {"sets": ["core", "behaviour", "long"]})
    id = "retrieval-rope-collapses-beyond"
    record = judge(folder, claims={id: load_claims()[id]})[0]
    assert (record.verdict, record.n, record.estimate) == ("contradicted", 20, 1.0)
    assert "Of 20 prompts, each in both forms, RoPE answers 1.00 of those of 256 and 512 tokens" in record.remarks


def test_long_claims_without_a_length_within_training_say_which_to_name(tmp_path):
    folder, store = results(tmp_path), Store(tmp_path)
    for half in HALVES:
        for column in PLANTED:
            asked = retrieval(column, half).sel(condition=["baseline"]).isel(length=[0]).assign_coords(length=[4096])
            store.save(Cell(column, "passages", "first", half, "long_retrieval.4096"), asked, {})
    pair = Pair(**{**PAIR.as_dict(), "limits": (), "training_length": 2048})
    store.write_run(run_record(pair, 32) | {"sets": ["core", "long"]})
    id = "retrieval-rope-collapses-beyond"
    record = judge(folder, claims={id: load_claims()[id]})[0]
    assert (record.verdict, record.reason) == ("untestable", "no length within 2048 tokens: name one in --lengths")
