from dataclasses import replace

from dropeact.measured import natural
from dropeact.report import sensitivity
from dropeact.report.render import environment
from dropeact.store import Store
from dropeact.verdicts import load_claims, robustness
from tests.synthetic_results import PAIR, results

CHOSEN = ("massive-query-reduction", "sink-rate-rope", "attention-sink-heads")


def found(folder):
    store = Store(results(folder, cells=("observations",), corpora=("passages",), plant={"rope": {"sink": 0.35}}))
    return robustness.strips(natural(store, PAIR), {id: load_claims()[id] for id in CHOSEN})


def test_lines_figure_and_section_of_planted_strips(tmp_path):
    strips = found(tmp_path / "run")
    assert sensitivity.line(strips["sink-rate-rope"]) == (
        "τ = 0.1, 0.2, 0.3, 0.4, 0.5: 64 tokens ✔✔✔✘✘ · 512 tokens ✔✔✔✘✘"
    )
    counted = sensitivity.line(strips["massive-query-reduction"])
    assert counted.startswith("λ = 3, 4, 5, 7, 10: attended, mean over the layer ")
    assert counted.count("·") == 3
    assert sensitivity.line(strips["attention-sink-heads"]).count("·") == 0

    one, two = (sensitivity.sensitivity_figure(strips, tmp_path / name) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.path.read_bytes() == two.path.read_bytes()
    assert all(id in one.path.read_text("utf-8") for id in CHOSEN)

    section = environment().get_template("contrasts.md.j2").render(curves=one, contrasts=[], link=lambda f: f.path.name)
    assert "![Estimate against threshold](sensitivity.svg)" in section
    assert "not the declared rule" in section
    assert "defect" not in section


def test_claims_without_a_threshold_have_no_figure(tmp_path):
    assert sensitivity.sensitivity_figure({}, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_an_arm_and_thresholds_that_turn_a_verdict_are_named(tmp_path):
    strip = found(tmp_path / "run")["sink-rate-rope"]
    declared = strip.settings[0]
    assert declared.verdict == "supported"
    assert sensitivity.turning(strip) == "contradicted at τ = 0.4, 0.5"  # planted scores lie around 0.35
    same = [replace(setting, verdict="supported") for setting in strip.settings]
    assert sensitivity.turning(replace(strip, settings=tuple(same))) == ""
    elsewhere = [
        replace(declared, protocol=replace(declared.protocol, arm=arm), verdict=verdict)
        for arm, verdict in (("bos", "contradicted"), ("separator", "inconclusive"))
    ]
    both = replace(strip, varied=(*strip.varied, "arm"), settings=(*strip.settings, *elsewhere))
    assert sensitivity.turning(both) == "contradicted in the bos arm and at τ = 0.4, 0.5"
    assert sensitivity.turning(replace(both, settings=(*same, *elsewhere))) == "contradicted in the bos arm"
    longer = replace(declared, protocol=replace(declared.protocol, sink_length=512), verdict="contradicted")
    of_length = replace(strip, varied=(*strip.varied, "sink_length"), settings=(*same, longer))
    assert sensitivity.turning(of_length) == "contradicted over 512 tokens"
