import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from dropeact import published
from dropeact.audit import Finding, audit, command
from dropeact.audit.checks import printed
from dropeact.audit.expressions import ExpressionError, evaluator
from dropeact.audit.render import WIDTH, as_json, markdown, table
from dropeact.audit.shell import read_expected, unexpected
from dropeact.axes import InputError

CHECKS, EVIDENCE = published.path("audit.toml"), published.path("evidence.json")
EXPECTED = published.path("audit-expected.toml")
DOCS = Path(__file__).parents[1] / "docs" / "audit.md"

# What the audit has to find: check, verdict, the figure that decides, recomputed by hand from the study's files.
NAMED = [
    ("disruption-reliance-ratio/literary", "reproduced", 81.7),
    ("disruption-reliance-ratio/technical", "not reproduced", 37.1),
    ("disruption-reliance-ratio/repetitive", "not reproduced", 14.8),
    ("disruption-reliance-ratio/first-run", "not reproduced", 108.4),
    ("disruption-consistent-across-text-types/rope-technical", "not reproduced", 462_642),
    ("disruption-consistent-across-text-types/rope-repetitive", "not reproduced", 494_414),
    ("disruption-consistent-across-text-types/drope-technical", "not reproduced", 12_475),
    ("disruption-consistent-across-text-types/drope-repetitive", "not reproduced", 33_446),
    ("massive-late-layers-fall/change", "not reproduced", -45.4),
    ("massive-late-layers-fall/drope", "not reproduced", 26.8),
    ("massive-layer1-only/key", "not reproduced", 10),
    ("massive-layer1-only/value", "not reproduced", 9),
    ("disruption-rope-collapses/massive", "not reproduced", 1502.8),
    ("disruption-significance/spread-rope", "contradicted", 0),
    ("disruption-significance/spread-drope", "contradicted", 0),
    ("disruption-significance/p-paired-rope", "not reproduced", 2.10e-48),
    ("disruption-significance/p-paired-drope", "not reproduced", 6.38e-29),
    ("disruption-significance/p-between", "not reproduced", 3.24e-87),
    ("disruption-significance/cohens-d", "reproduced", 1168),
    ("passkey-drope-unaffected/baseline", "contradicted", 30),
    ("passkey-drope-unaffected/disrupted", "contradicted", 0),
    ("balance-late-layers-equal/drope", "not reproduced", 36.0),
    ("balance-late-layers-equal/difference", "not reproduced", 1.40),
    ("bos-mlp-ablation-rope/ratio", "no raw figure", 873.3),
    ("bos-mlp-ablation-drope/ratio", "no raw figure", 1.015),
    ("bos-mlp-perplexity/rope", "contradicted", 0),
    ("bos-mlp-perplexity/drope", "contradicted", 0),
    ("bos-mlp-manipulation/rope", "reproduced", 0.00517),
    ("bos-mlp-manipulation/drope", "contradicted", 0.991),
    ("bos-mlp-manipulation/layer", "contradicted", 1),
    ("bos-spike-delayed/rope", "contradicted", 0),
    ("bos-spike-delayed/drope", "contradicted", 1),
    ("bos-norm-peak/change", "contradicted", -35.6),
    ("bos-mlp-accuracy-drope/parametric-after", "not reproduced", 65.25),
    ("sink-rate-early-layers/rope-0", "contradicted", 6.25),
    ("sink-rate-early-layers/drope-0", "contradicted", 3.125),
    ("retrieval-drope-beyond/8192", "contradicted", 0),
    ("drawn-attention-shares/rope-30", "not reproduced", 10.75),
    ("drawn-context-lengths/4096", "contradicted", 0),
]


@pytest.fixture(scope="module")
def findings() -> tuple[Finding, ...]:
    return audit(CHECKS, EVIDENCE)


def by_id(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}


@pytest.mark.parametrize(("check", "verdict", "figure"), NAMED)
def test_named_finding_against_hand_count(check, verdict, figure, findings):
    finding = by_id(findings)[check]
    assert finding.verdict == verdict
    assert finding.against == pytest.approx(figure, rel=5e-3)


def test_reliance_in_nats_against_hand_count(findings):
    found = by_id(findings)
    nats = {text: dict(found[f"disruption-reliance-ratio/{text}"].also)["nats"] for text in NATS}
    assert nats == pytest.approx(NATS, rel=5e-3)


NATS = {"literary": 2.59, "technical": 1.75, "repetitive": 1.46, "first-run": 2.45}


def test_ablated_norm_did_not_fall_against_hand_count(findings):
    also = dict(by_id(findings)["bos-mlp-manipulation/drope"].also)
    assert also == pytest.approx({"norm, ablated": 612.27, "norm, not ablated": 618.07}, rel=1e-4)
    written = dict(by_id(findings)["bos-mlp-manipulation/layer"].also)
    assert written == pytest.approx({"MLP output at layer 1": 498.0, "MLP output at layer 2": 7.28}, rel=1e-3)


def test_every_figure_of_the_catalogue_is_audited(findings):
    """A printed figure is the catalogue's, or a hundred times it where it is printed in percent."""
    places = {(f.check.claims[0], f.check.figure): f.check.printed.value for f in findings if f.check.figure}
    for claim in published.claims().values():
        for key, value in claim.figures.items():
            if key == "lengths":  # conditions of the runs, not results
                continue
            named = {f"{key}[{i}]": v for i, v in enumerate(value)} if isinstance(value, tuple) else {key: value}
            for place, figure in named.items():
                seen = places.pop((claim.id, place))
                assert seen in (pytest.approx(figure), pytest.approx(100 * figure)), (claim.id, place)
    assert not places


def test_every_check_belongs_to_a_claim(findings):
    assert {claim for finding in findings for claim in finding.check.claims} <= set(published.claims())


def test_differences_are_the_expected_ones(findings):
    assert unexpected(findings, read_expected(EXPECTED)) == []


def test_doctored_evidence_is_caught(tmp_path, capsys):
    evidence = published.read_json(EVIDENCE)
    evidence["bos_write"]["rope"]["bos_v_ablation"]["all_layers_ppl"] *= 1.01  # 4.12 becomes 4.16
    doctored = tmp_path / "evidence.json"
    doctored.write_text(json.dumps(evidence))
    assert by_id(audit(CHECKS, doctored))["bos-v-ablation-similar/rope"].verdict == "not reproduced"
    assert command(CHECKS, doctored, expect=EXPECTED) == 1
    assert "new: bos-v-ablation-similar/rope: not reproduced" in capsys.readouterr().err


def test_evidence_doctored_to_agree_is_caught(tmp_path, capsys):
    evidence = published.read_json(EVIDENCE)
    evidence["functional"]["rope"]["bos_mlp_ablation"]["perplexity"] = 12766
    doctored = tmp_path / "evidence.json"
    doctored.write_text(json.dumps(evidence))
    assert command(CHECKS, doctored, expect=EXPECTED) == 1
    assert "gone: bos-mlp-perplexity/rope: expected contradicted; got reproduced" in capsys.readouterr().err


def test_doctored_printed_figure_is_caught(tmp_path, capsys):
    doctored = tmp_path / "audit.toml"
    doctored.write_text(CHECKS.read_text().replace('printed = "4.12"', 'printed = "4.13"'))
    assert command(doctored, EVIDENCE, expect=EXPECTED) == 1
    assert capsys.readouterr().err.splitlines() == ["new: bos-v-ablation-similar/rope: not reproduced"]


@pytest.mark.parametrize(
    ("text", "step", "admitted", "refused"),
    [
        ("1,508", None, (1507.5, 1508.5), (1507.4, 1508.6)),
        ("4.12", None, (4.116, 4.1249), (4.114, 4.126)),
        ("-39", None, (-38.5, -39.5), (39, -38.4)),
        ("~20", 10, (15, 25), (26.8,)),
        ("116,000", 1000, (115_929.7,), (115_400,)),
        ("< 1e-48", None, (9e-49,), (2.1e-48, 1e-48)),
        ("> 1,000", None, (1168,), (999,)),
        ("60", None, (59.5,), (59.49,)),
    ],
)
def test_printed_digits_decide_against_hand_count(text, step, admitted, refused):
    figure = printed(text, step)
    assert all(figure.admits(value) for value in admitted)
    assert not any(figure.admits(value) for value in refused)


@pytest.mark.parametrize(("t", "dof"), [(0.3, 1), (2.0, 9), (5.5, 18), (40.0, 4), (-3.0, 7)])
def test_p_two_sided_against_scipy(t, dof):
    assert evaluator({})(f"p_two_sided({t}, {dof})") == pytest.approx(2 * stats.t.sf(abs(t), dof), rel=1e-9)


def test_functions_against_hand_count():
    evaluate = evaluator({"a": {"b": [1, 4, 2], "c": [2, 3, 2]}, "rows": [{"x": 1}, {"x": 3}], "table": {"8": 5}})
    assert [evaluate(f"{name}(a.b)") for name in ("sum", "count", "argmax", "argmin", "max")] == [7, 3, 1, 0, 4]
    assert evaluate("count_above(a.b, a.c)") == evaluate("first_above(a.b, 2)") == 1
    assert evaluate("max(steps(a.b))") == evaluate("population_sd(column(rows, 'x')) + 2") == 3
    assert evaluate("largest_gap(a.b, a.c) + mean(a.b[1:]) + table['8'] - a.b[-1]") == 7
    assert evaluate("percent(4, 5)") == 25
    assert evaluate("2 < 3 <= 3 and not 1 > 2") == 1


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        "getattr(a, 'b')",
        "a.__class__",
        "a.b.__len__()",
        "a.b.append(1)",
        "a.items()",
        "m.real",
        "abs.__self__",
        "().__class__.__bases__",
        "'%s' % a",
        "f'{a}'",
        "[x for x in a.b]",
        "(lambda: 1)()",
        "a.b * 1000000000",
        "'x' * 1000000000",
        "9 ** 9 ** 9 ** 9",
        "1 if m else 2",
        "m := 3",
        "m = 3",
        "m; m",
        "import os",
        "(" * 500,
        "m + " * 400 + "m",
        "-" * 900 + "m",
        "max(a.b, key=abs)",
        "a",
        "a.b",
        "nan",
        "1 / 0",
        "a.missing",
        "a.b[9]",
        "",
    ],
)
def test_expression_is_refused(expression):
    evaluate = evaluator({"a": {"b": [1, 2], "nan": float("nan")}, "m": 2, "nan": float("nan")})
    with pytest.raises(ExpressionError):
        evaluate(expression)


def row(**changes: object) -> str:
    keys = {"id": "r", "what": "w", "printed": "1", "raw": "x"} | changes
    inner = ", ".join(f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None)
    return f'[[check]]\nid = "c"\nwhere = "1"\nrows = [\n  {{ {inner} }},\n]\n'


@pytest.mark.parametrize(
    ("checks", "evidence", "named"),
    [
        (row(raw="y"), '{"x": 1}', r"c/r: raw = 'y'"),
        (row(raw="x.z"), '{"x": {"w": 1}}', r"no figure 'z' beside w"),
        (row(raw="__import__('os')"), '{"x": 1}', "c/r"),
        (row(raw=None), '{"x": 1}', "exactly one of raw, holds, none, outside in check c/r"),
        (row(none="lost"), '{"x": 1}', "exactly one of"),
        (row(what=None), '{"x": 1}', r"c/r; missing or unknown: what"),
        (row(colour="red"), '{"x": 1}', r"c/r; missing or unknown: colour"),
        (row(printed="many"), '{"x": 1}', "c/r: expected a printed figure"),
        (row(printed="~20"), '{"x": 1}', "with a step"),
        (row(printed=20), '{"x": 1}', "c/r; got another printed"),
        (row(raw=5), '{"x": 1}', "another raw"),
        (row(step=0), '{"x": 1}', "another step"),
        (row(also=3), '{"x": 1}', "another also"),
        ("[[check]]\nid = 'c'\nrows = [1]\n", '{"x": 1}', "check c; got 1"),
        ("[[check]]\nid = 'c'\ncolour = 1\nrows = []\n", '{"x": 1}', "no colour in check c"),
        (row() + row(), '{"x": 1}', "'c/r' twice"),
        ("", '{"x": 1}', r"\[\[check\]\] tables"),
        ("[[check]]\nwhere = 1\n", '{"x": 1}', "an id and rows"),
        ("[[check]]\nid = \n", '{"x": 1}', "line 2"),
        (row(), '{"x": 1,\n "y" 2}', "line 2"),
        (row(), "[1]", "one JSON object"),
        (row(), '{"x": NaN}', "finite"),
        (row(), '{"x": "one"}', "expected a number"),
    ],
)
def test_malformed_input_error_names_the_place(checks, evidence, named, tmp_path):
    (tmp_path / "c.toml").write_text(checks)
    (tmp_path / "e.json").write_text(evidence)
    with pytest.raises(InputError, match=named) as refused:
        command(tmp_path / "c.toml", tmp_path / "e.json")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"checks": Path("none.toml"), "evidence": EVIDENCE}, "none.toml"),
        ({"checks": CHECKS}, "one of them"),
        ({"expect": Path("none.toml")}, "none.toml"),
    ],
)
def test_missing_file_and_half_a_pair_are_unusable_input(given, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=named):
        command(**given)


def test_expected_file_with_an_unknown_verdict_is_refused(tmp_path):
    (tmp_path / "e.toml").write_text('[expected]\n"c/r" = "fine"\n')
    with pytest.raises(InputError, match="c/r"):
        read_expected(tmp_path / "e.toml")


def test_exit_status_is_0_1_by_agreement(tmp_path):
    (tmp_path / "c.toml").write_text(row())
    for value, status in ((1.2, 0), (1.6, 1)):
        (tmp_path / "e.json").write_text(json.dumps({"x": value}))
        assert command(tmp_path / "c.toml", tmp_path / "e.json") == status
    assert command(style="json") == 1
    assert command(style="md", expect=EXPECTED) == 0


def test_rounding_of_both_figures_is_allowed_between_two_printed_ones(tmp_path):
    (tmp_path / "e.json").write_text('{"x": 68.8}')
    for elsewhere, verdict in (("69", "reproduced"), ("68.6", "contradicted"), ("70", "contradicted")):
        (tmp_path / "c.toml").write_text(row(printed="68.8", elsewhere=elsewhere, elsewhere_where="2"))
        assert audit(tmp_path / "c.toml", tmp_path / "e.json")[0].verdict == verdict


def test_the_documented_example_against_its_prose(tmp_path):
    example = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "c.toml").write_text(example[1])
    old, new = {"seconds": [6.2] * 100, "large": 8.2}, {"seconds": [2.0] * 100, "large": 2.0}
    (tmp_path / "e.json").write_text(json.dumps({"old": old, "new": new}))
    verdicts = [finding.verdict for finding in audit(tmp_path / "c.toml", tmp_path / "e.json")]
    assert verdicts == ["reproduced", "contradicted", "no raw figure", "contradicted"]


def test_table_fits_its_width_and_names_every_difference(findings):
    text = table(findings)
    assert max(map(len, text.splitlines())) <= WIDTH
    flat = " ".join(text.split())
    assert all(finding.found_text.split(" ")[0] in flat for finding in findings if finding.differs)


def test_json_is_whole_and_holds_numbers(findings):
    content = json.loads(as_json(findings))
    assert content["schema"] == 1
    assert len(content["findings"]) == len(findings) == sum(content["counts"].values())
    record = next(item for item in content["findings"] if item["id"] == "massive-late-layers-fall/change")
    assert record["printed"]["value"] == -60
    assert record["recomputed"] == pytest.approx(-45.4, abs=0.05)
    assert record["elsewhere"] is None


def test_markdown_has_a_row_for_every_larger_difference(findings):
    rows = [line for line in markdown(findings).splitlines() if line.startswith("|") and not line.startswith("|---")]
    larger = [finding for finding in findings if finding.differs and not finding.slight]
    assert len(rows) == len(larger) + 2  # two heads
    assert {line.count("|") - line.count("\\|") for line in rows} == {7}


def test_figure_names_do_not_overlap_and_its_bytes_repeat(findings, tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from dropeact.report.audit_figure import audit_figure, drawing

    figure = drawing(findings)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [Text.get_window_extent(name, canvas.get_renderer()) for name in figure.axes[0].texts]
    assert len(boxes) > 30
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    for name in ("one.svg", "two.svg"):
        audit_figure(findings, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_audit_imports_neither_torch_nor_xarray():
    heavy = {"torch", "transformers", "xarray", "scipy", "matplotlib", "numpy", "jinja2"}
    code = f"import dropeact.audit, sys; dropeact.audit.command(); print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
