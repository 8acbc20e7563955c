"""Simulated truths on the bound -> how often a verdict is wrong; `python -m benchmarks.calibration` writes the table.

Writes docs/calibration.md and benchmarks/results/calibration.json; exit status 1 where a promised rate is exceeded.
About three minutes of one core; `--samples=20` takes fewer samples of each claim than 200.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import item_shapes
from benchmarks.calibration_rows import EFFECTS, POPULATION, RUNS, SIZES, Row, failures
from benchmarks.calibration_table import page
from benchmarks.planted_claims import Entry, World, entries, on_bound, p_of
from benchmarks.planted_items import ASKED, Items, is_of_items, on_bound_items, on_items
from benchmarks.shapes import ASSERTED, Draw, distributions, every_part, margin, ratio_tails, scenarios, tails
from dropeact.estimators import Estimate, PValues
from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.power import power, skewness
from dropeact.files import write_text
from dropeact.verdicts import load_claims
from dropeact.verdicts.rule import decide, holm

CLAIM_RUNS = 200
PER_RECORD, PER_FAMILY, MISSED = ALPHA, 0.05, 0.06
FLAGGED = 1.0  # the skewness that a report flags
SEEDS = 4
ROOT = Path(__file__).parents[1]


def records(draws: Mapping[str, Draw], sizes: Sequence[int], runs: int) -> Iterator[Row]:
    """Wrong verdicts of single records, by shape, distribution and n."""
    for name, draw in draws.items():
        for n in sizes:
            for scenario in scenarios():
                support, contradict = scenario.fast(scenario.make(draw, runs, n))
                for verdict, p in (("support", support), ("contradict", contradict)):
                    if verdict in scenario.wrong:
                        yield Row("record", scenario.shape, verdict, name, n, int((p <= ALPHA).sum()), runs,
                                  PER_RECORD, name in ASSERTED)  # fmt: skip


def coverage(draws: Mapping[str, Draw], sizes: Sequence[int], runs: int) -> Iterator[Row]:
    """Truths outside the 95 % interval, which inverts the two one-sided tests."""
    for name, draw in draws.items():
        for n in sizes:
            rope = 10 + 2 * draw((runs, n))
            ratios = ratio_tails(0.95 * rope + draw((runs, n)), rope, 0.95)
            for what, (above, below) in {"mean": tails(draw((runs, n))), "ratio": ratios}.items():
                missed = int(((above <= ALPHA) | (below <= ALPHA)).sum())
                yield Row("coverage", what, "missed", name, n, missed, runs, MISSED, name in ASSERTED)


def family_of_shapes(draw: Draw, runs: int, n: int, strong: int) -> tuple[np.ndarray, np.ndarray]:
    """Support and contradict of eight records with a common text effect, the first `strong` far inside their region.

    Half-lines of n and of n / 2 texts, ratios, a margin and a conjunction; all others lie on their bound.
    """
    text = draw((runs, n, 1))
    x = (text + draw((runs, n, 9))) / np.sqrt(2)
    rope = 10 + x[:, :, 6]
    members = [
        tails(x[:, :, 0]),
        tails(x[:, : n // 2, 1]),
        ratio_tails(0.95 * rope + x[:, :, 2], rope, 0.95)[::-1],
        tails(x[:, : n // 2, 3]),
        margin({"x": 0.5 + x[:, :, 4]}),
        every_part({"x": x[:, :, [5, 7]]}),
        tails(-x[:, :, 0] + 0.1 * x[:, :, 8]),
        tails(x[:, :, 7]),
    ]
    for i in range(strong):
        members[i] = (np.zeros(runs), np.ones(runs))
    support, contradict = zip(*members, strict=True)
    return np.stack(support, 1), np.stack(contradict, 1)


def wrong_families(support: np.ndarray, contradict: np.ndarray, strong: int) -> int:
    """Families in which a record on its bound was decided either way, or a strong one decided against its sign."""
    wrong = 0
    for s, c in zip(support, contradict, strict=True):
        p = [PValues(*pair) for pair in zip(s, c, strict=True)]
        adjusted = holm([item.decisive for item in p])
        verdicts = [decide(item, float(a)) for item, a in zip(p, adjusted, strict=True)]
        wrong += "contradicted" in verdicts[:strong] or any(v != "inconclusive" for v in verdicts[strong:])
    return wrong


def families(draws: Mapping[str, Draw], sizes: Sequence[int], runs: int) -> Iterator[Row]:
    """Families with any wrong verdict, before and after other records were decided (step-down)."""
    for name, draw in draws.items():
        for n in sizes:
            for strong in (0, 4):
                p = family_of_shapes(draw, runs, n, strong)
                what = f"8 records, {strong} of them decided rightly" if strong else "8 records on their bound"
                yield Row("family", what, "any", name, n, wrong_families(*p, strong), runs, PER_FAMILY,
                          name in ASSERTED)  # fmt: skip


def broken(draw: Draw, n: int, runs: int) -> Row:
    """The defect that this calibration must catch: every text counted once per seed."""
    above, _ = tails(np.repeat(draw((runs, n)), SEEDS, axis=1))
    return Row("broken", f"{SEEDS} seeds of a text as {SEEDS} texts", "support", "normal", n,
               int((above <= ALPHA).sum()), runs, PER_RECORD, True)  # fmt: skip


def powers(draw: Draw, sizes: Sequence[int], runs: int) -> list[dict[str, float]]:
    """How often a mean `effect` standard deviations inside its region is supported: simulated, and by theory."""
    found = []
    for n in sizes:
        noise = draw((runs, n))
        for effect in EFFECTS:
            above, _ = tails(noise + effect)
            for family in (1, 8):
                reached, theory = float((above <= ALPHA / family).mean()), power(effect, n, ALPHA / family)
                found.append({"n": n, "effect": effect, "family": family, "power": reached, "theory": theory})
    return found


def claims(chosen: Sequence[Entry], sizes: Sequence[int], runs: int, texts: int) -> tuple[list[Row], dict[str, str]]:
    """Wrong verdicts of the registered claims, each on its bound, and of their families; how each bound was reached."""
    rows, reached = [], {}
    together: dict[tuple[str, int], list[list[PValues]]] = defaultdict(list)
    for entry in chosen:
        print(f"{entry.key} ...", flush=True)
        found = on_bound_items(entry) if is_of_items(entry) else on_bound(entry, texts=texts)
        reached[entry.key] = "no knob reaches the bound" if found is None else found[1]
        if found is None:
            continue
        seen = on_items(entry) if is_of_items(entry) else entry
        promised = not flagged(seen, found[0])
        for n in [ASKED] if is_of_items(entry) else sizes:
            p = p_of(seen, found[0], n, runs)
            together[entry.claim.family, n].append(p)
            verdicts = [decide(item, item.decisive) for item in p]
            for verdict in ("supported", "contradicted"):
                rows.append(
                    Row("claim", entry.key, verdict, "planted", n, verdicts.count(verdict), runs, PER_RECORD, promised)
                )
    for (family, n), members in together.items():
        p = np.array(members).transpose(1, 0, 2)
        wrong = wrong_families(p[:, :, 0], p[:, :, 1], 0)
        of_items = ", facts and prompts" if n == ASKED else ""
        rows.append(
            Row(
                "claims",
                f"{family} ({len(members)} records{of_items})",
                "any",
                "planted",
                n,
                wrong,
                runs,
                PER_FAMILY,
                True,
            )
        )
    return rows, reached


def flagged(entry: Entry, world: World | Items) -> bool:
    """Whether the planted contrast is as skewed as a report flags: there the t-test errs, as for lognormal noise."""
    if isinstance(world, Items):
        return False
    outcome = entry.outcome(world)
    if not isinstance(outcome, Estimate) or outcome.is_exact:
        return False
    bounds = [bound for bound in (entry.region.low, entry.region.high) if np.isfinite(bound)]
    return any(abs(skewness(outcome.contrast(bound))) > FLAGGED for bound in bounds)


def simulated(sizes: Sequence[int], runs: int, names: Sequence[str] | None = None) -> list[Row]:
    """Every row that needs no claim."""
    every = distributions(np.random.default_rng(8))
    draws = {name: every[name] for name in names or every}
    rows = [*records(draws, sizes, runs), *coverage(draws, sizes, runs), *families(draws, sizes, runs // 4)]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, write the table, and say whether the promises hold."""
    parser = argparse.ArgumentParser(description="How often a verdict is wrong where the truth lies on its bound.")
    parser.add_argument("--samples", type=int, default=CLAIM_RUNS, help="samples of each claim and n")
    samples = parser.parse_args(arguments).samples
    rows = [*simulated(SIZES, RUNS), *item_shapes.rows(item_shapes.ITEM_SIZES, RUNS)]
    judged, reached = claims(list(entries(load_claims())), SIZES, samples, POPULATION)
    rows += judged
    draw = distributions(np.random.default_rng(9))["normal"]
    defect = [broken(draw, n, RUNS) for n in SIZES]
    curve = powers(draw, SIZES, RUNS)
    wrong = failures(rows)
    caught = len(failures([*rows, *defect])) == len(wrong) + len(defect)
    body = {
        "rows": [row._asdict() for row in rows],
        "broken": [row._asdict() for row in defect],
        "power": curve,
        "bounds": reached,
        "failures": [row._asdict() for row in wrong],
    }
    write_text(ROOT / "benchmarks/results/calibration.json", json.dumps(body, indent=0) + "\n")
    write_text(ROOT / "docs/calibration.md", page(rows, defect, curve, reached))
    for row in wrong:
        print(f"beyond Monte Carlo error: {row}")
    return int(bool(wrong) or not caught)


if __name__ == "__main__":
    sys.exit(main())
