"""Rows of the calibration -> the page docs/calibration.md."""

from collections.abc import Mapping, Sequence

from benchmarks.calibration_rows import EFFECTS, POPULATION, RUNS, SIZES, Row, failures, limit
from benchmarks.item_shapes import ITEM_SIZES, SUITE
from benchmarks.planted_items import ASKED, PROMPTS, TIMES
from benchmarks.shapes import ASSERTED

RARE = 0.10


def page(
    rows: Sequence[Row], defect: Sequence[Row], curve: Sequence[Mapping[str, float]], reached: Mapping[str, str]
) -> str:
    """The text of docs/calibration.md."""
    wrong, asserted = failures(rows), [row for row in rows if row.asserted]
    worst = {section: max((r for r in asserted if r.section == section), key=lambda r: r.rate) for section in
             ("record", "items", "family", "coverage", "claim", "claims")}  # fmt: skip
    pooled = [row for row in rows if row.section == "claim"]
    samples = max(row.runs for row in pooled)
    lines = [
        "# Calibration: how often a verdict is wrong",
        "",
        "Written by `python -m benchmarks.calibration`; a fast version runs with the tests "
        "(`tests/test_calibration_of_claims.py`).",
        "",
        "Each simulation puts the truth exactly on the bound of a region, the hardest place: any decided verdict is "
        "wrong there from one side. Promised: a record is wrong in at most 2.5 % of samples, for support and for "
        "contradiction; a family of records has any wrong verdict in at most 5 %; a 95 % interval holds the truth "
        "in at least 94 %. The promise is for normal noise, t with 3 degrees of freedom, and symmetric contamination "
        "(one text in ten with five times the spread). One-sided contamination (one text in ten five deviations up), "
        "lognormal noise and rare counts (Poisson, mean 0.1) are reported, not promised: there the t-test errs. "
        "The same holds for a planted claim whose contrast has a skewness beyond ±1; reports flag such contrasts and "
        "the table marks them.",
        "",
        f"**{len(asserted)} promises tested, {len(wrong)} broken** beyond Monte Carlo error (99.9 % binomial bound "
        "over all of them together).",
        "",
        "| | largest observed rate | where | chance alone explains |",
        "|---|---|---|---|",
        *[
            f"| {title} | {_percent(row.rate)} | {row.what}, {row.verdict}, {row.distribution}, n = {row.n} | "
            f"{_percent(limit(row, len(asserted)) / row.runs)} |"
            for title, row in (
                ("wrong record, promised 2.5 %", worst["record"]),
                ("wrong record of right and wrong answers, promised 2.5 %", worst["items"]),
                ("wrong family, promised 5 %", worst["family"]),
                ("truth outside the interval, promised 6 %", worst["coverage"]),
                (f"wrong record through a claim function ({samples} samples)", worst["claim"]),
                (f"wrong family of claim functions ({samples} samples)", worst["claims"]),
            )
        ],
        "",
        f"Over all claim functions, {_percent(sum(r.wrong for r in pooled) / sum(r.runs for r in pooled))} of "
        f"{sum(r.runs for r in pooled):,} possible wrong verdicts occurred.",
        "",
        f"## Records: wrong verdicts by estimator shape, {RUNS:,} samples each",
        "",
        f"Percent at n = {' / '.join(map(str, SIZES))}; the larger of wrong support and wrong contradiction.",
        "",
        *_by_distribution([row for row in rows if row.section == "record"]),
        "",
        "A contrast without spread is compared directly. Counts that are rare may all agree by chance: where the truth "
        f"lies {RARE:g} from what they show, in {' / '.join(_percent((1 - RARE) ** n) for n in SIZES)} of the "
        f"samples at n = {' / '.join(map(str, SIZES))}, and {_percent((1 - RARE) ** 100)} at n = 100. At n = 8 that is "
        "the rare-counts column; at n = 32 most of it is skewness. Items that were answered right or wrong are judged "
        "otherwise:",
        "",
        f"## Items: wrong verdicts on right and wrong answers, {RUNS:,} samples each",
        "",
        f"Percent at n = {' / '.join(map(str, ITEM_SIZES))}; the larger of wrong support and wrong contradiction. "
        "Where nearly all items agree, t alone takes the spread of the sample for that of all items; the suite "
        "takes the weaker of t and a score test (`estimators.items`). Promised as above.",
        "",
        *_by_distribution([row for row in rows if row.section == "items"]),
        "",
        f"## Families: any wrong verdict after Holm's step-down, {RUNS // 4:,} samples each",
        "",
        "Half-lines of n and of n / 2 texts, ratios, a margin and a conjunction with a common text effect.",
        "",
        *_by_distribution([row for row in rows if row.section == "family"]),
        "",
        f"## Coverage: truth outside the 95 % interval, {RUNS:,} samples each",
        "",
        *_by_distribution([row for row in rows if row.section == "coverage"]),
        "",
        "## Power: how often a true effect is supported",
        "",
        "Effect in standard deviations over texts beyond the bound; alone / at the strictest step of a family of 8.",
        "",
        *_power(curve),
        "",
        f"## Claims: the registered functions, {samples} samples each",
        "",
        f"A population of {POPULATION:,} texts is planted for both models; one variable of one model is turned until "
        "the claim's own function, asked of the whole population, lies on the bound of its region. Samples then go "
        "through the engine. Percent wrongly supported and wrongly contradicted, at "
        f"n = {' / '.join(map(str, SIZES))}. Records of facts and prompts: worlds of {TIMES} times the suite's "
        f"{ASKED - PROMPTS} facts and {PROMPTS} prompts, whose rates of right answers are turned; a sample is as large "
        "as the suite.",
        "",
        *_claims([row for row in rows if row.section == "claim"], reached),
        "",
        "Any wrong verdict in the family of these records, every one on its bound:",
        "",
        *_table(["family", "percent"], _joined([row for row in rows if row.section == "claims"])),
        "",
        "## What this calibration catches",
        "",
        f"{defect[0].what[0].upper()}{defect[0].what[1:]}: {' / '.join(_percent(row.rate) for row in defect)} of null "
        f"effects supported at n = {' / '.join(map(str, SIZES))}. The calibration fails on it, as it should; the "
        "estimators refuse a second dimension beside the text, and text ids that repeat.",
    ]
    return "\n".join(lines) + "\n"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]


def _worst(rows: Sequence[Row]) -> str:
    return " / ".join(f"{100 * max(r.rate for r in rows if r.n == n):.1f}" for n in sorted({r.n for r in rows}))


def _by_distribution(rows: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(row.distribution for row in rows))
    body = [
        [what, *[_worst([r for r in rows if (r.what, r.distribution) == (what, name)]) for name in names]]
        for what in dict.fromkeys(row.what for row in rows)
    ]
    return _table(["", *[name if name in (*ASSERTED, SUITE) else f"*{name}*" for name in names]], body)


def _joined(rows: Sequence[Row]) -> list[list[str]]:
    return [[what, _worst([r for r in rows if r.what == what])] for what in dict.fromkeys(row.what for row in rows)]


def _power(curve: Sequence[Mapping[str, float]]) -> list[str]:
    found = {(c["n"], c["effect"], c["family"]): c["power"] for c in curve}
    return _table(
        ["n", *[f"{effect:g} sd" for effect in EFFECTS]],
        [[str(n), *[f"{found[n, e, 1]:.2f} / {found[n, e, 8]:.2f}" for e in EFFECTS]] for n in SIZES],
    )


def _claims(rows: Sequence[Row], reached: Mapping[str, str]) -> list[str]:
    body = []
    for key, how in reached.items():
        own = [row for row in rows if row.what == key]
        cells = [_worst([r for r in own if r.verdict == v]) if own else "—" for v in ("supported", "contradicted")]
        skewed = "" if all(row.asserted for row in own) else " (skewed: not promised)"
        body.append([f"`{key}`{skewed}", *cells, how])
    return _table(["record", "supported", "contradicted", "how the bound was reached"], body)
