import re

import pytest

from dropeact import bundled, published
from dropeact.axes import InputError
from dropeact.report import words

EXPERIMENTS = {1: 6, 2: 6, 3: 5, 4: 12, 5: 3, 6: 3, 7: 2, 8: 2, 9: 2, 10: 7, "upstream": 9}


def test_catalogue_has_every_experiment_against_hand_count():
    claims = published.claims().values()
    assert {key: sum(claim.experiment == key for claim in claims) for key in EXPERIMENTS} == EXPERIMENTS
    assert len(claims) == 57


def test_claim_carries_its_figures_against_paper():
    claim = published.claims()["massive-query-reduction"]  # study 2.2, first line of the table
    assert claim.figures == {"rope": 1475.5, "rope_sd": 22.6, "drope": 901.4, "drope_sd": 36.0, "change": -0.39}
    assert (claim.n, claim.source, claim.experiment) == (10, "study 2.2", 1)
    assert claim.tolerance == published.Tolerance(0.05, "absolute")


def test_a_figure_that_was_printed_as_a_bound_is_called_one():
    rows = [row for check in published.read_toml(published.path("audit.toml"))["check"] for row in check["rows"]]
    bounds = {row["figure"]: row["printed"][0] for row in rows if "figure" in row and row["printed"][0] in "<>"}
    assert len(bounds) == 4
    assert {figure: words.named(figure)[-1] for figure in bounds} == bounds


def test_tolerance_half_width_against_hand_count():
    assert published.Tolerance(0.25, "relative").half_width(-82) == 20.5
    assert published.Tolerance(0.05, "absolute").half_width(-82) == 0.05


def test_lists_of_figures_cannot_be_changed():
    figures = published.claims()["disruption-consistent-across-text-types"].figures
    assert figures["rope_percent"] == (116000, 115800, 116100)
    with pytest.raises(TypeError):
        figures["rope_percent"] = 0  # pyright: ignore[reportIndexIssue] - what the test is about


def test_statements_are_sentences_and_unlike_one_another():
    statements = [claim.statement for claim in published.claims().values()]
    assert all(re.fullmatch(r"[A-Z].*\.", statement) for statement in statements)
    assert len(set(statements)) == len(statements)


def test_every_evidence_key_is_a_section_with_its_source():
    sections = published.evidence()
    used = {claim.evidence for claim in published.claims().values() if claim.evidence}
    assert used <= set(sections)
    for name, section in sections.items():
        if name not in {"_about", "models"}:
            assert {"source", "key", "commit", "unit"} <= set(section), name


@pytest.mark.parametrize("section", ["massive_value_counts", "phase", "bos_write", "crosslayer_balance"])
def test_layer_lists_have_one_figure_a_layer(section: str):
    def lists(value):
        if isinstance(value, dict):
            return [found for inner in value.values() for found in lists(inner)]
        return [value] if isinstance(value, list) else []

    assert {len(figures) for figures in lists(published.evidence()[section])} == {32}


def test_head_classes_add_up_against_the_other_section():
    sections = published.evidence()
    for model in ("rope", "drope"):
        by_layer = sections["head_types"][model]["sink"]
        assert sum(by_layer) == sections["attention_summary"][model]["head_type_counts"]["sink"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[one]\nstatement = 'x'\nsource = 's'\n", "experiment"),
        ("[one]\nstatement = 'x'\nsource = 's'\nexperiment = 1\nfigure = 3\n", "figure"),
        ("[one]\nstatement = 'x'\nsource = 's'\nexperiment = 1\ntolerance = { value = 1 }\n", r"\[one\]"),
        ("[one]\nstatement = \n", "line 2"),
    ],
)
def test_catalogue_error_names_the_key_or_line(content: str, named: str, tmp_path, monkeypatch):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "claims.toml").write_text(content)
    monkeypatch.setattr(published, "folder", lambda name: tmp_path)
    with pytest.raises(InputError, match=named):
        published.claims.__wrapped__()


def test_folder_prefers_the_checkout():
    assert bundled.folder("claims").parent.joinpath("pyproject.toml").is_file()


def test_folder_is_found_in_an_installed_package(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "dropeact"
    (installed / "_bundled" / "claims").mkdir(parents=True)
    (tmp_path / "site-packages" / "claims").mkdir()  # someone else's folder of that name, beside the package
    monkeypatch.setattr(bundled, "_PACKAGE", installed)
    assert bundled.folder("claims") == installed / "_bundled" / "claims"
    with pytest.raises(InputError, match="reinstall"):
        bundled.folder("results")


def test_unknown_folder_is_refused():
    with pytest.raises(InputError, match="report_templates"):
        bundled.folder("secrets")
