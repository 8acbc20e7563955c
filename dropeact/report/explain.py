"""One claim in full: statement, formula, region, numbers per text, published value, the command that measures it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dropeact import bundled, measured, pairs
from dropeact.axes import InputError
from dropeact.estimators import Argmax, Conjunction, Estimate
from dropeact.pairs import DEFAULT
from dropeact.report import words
from dropeact.report.again import command
from dropeact.store import Store
from dropeact.verdicts import Claim, Record, expected, judge, load_claims

PARTS = 4


def explained(id: str, directory: Path | None = None, own: Iterable[Path] = ()) -> list[str]:
    """The lines of `dropeact explain`, of a claim of the project or of the files in `own`."""
    claims = load_claims(own)
    if id not in claims:
        near = ", ".join(name for name in claims if id.lower().split("-")[0] in name) or "see `dropeact claims`"
        raise InputError(f"expected the id of a claim; got {id!r}; {near}")
    folder = directory or bundled.folder("results") / DEFAULT
    store = Store(folder)
    run = store.read_run()
    pair = pairs.from_dict(run["pair"])
    judged = judge(folder, claims=claims, families=expected.load(pair.name).families)
    claim = claims[id]
    lines = [f"{id}: {claim.statement}", "", *claim.formula.splitlines(), ""]
    for record in (record for record in judged if record.id == id):
        lines += described(record)
    lines += ["", *per_text(claim, measured.natural(store, pair, arm=run["arm"]))]
    return [*lines, "", f"again: {command(store, run, claim)}"]


def described(record: Record) -> list[str]:
    """A record's numbers, one to a line."""
    rows = {
        "kind": record.kind,
        "verdict": f"{record.verdict}{f' ({record.reason})' if record.reason else ''}",
        "measured": f"{words.measured(record)}, n = {record.n}",
        "region": words.region(record),
        "published": words.published(record),
        "source": record.source,
        "p": f"support {words.number(record.p_support)}, contradict {words.number(record.p_contradict)}, "
        f"adjusted {words.number(record.p_adjusted)} within {record.family}",
        "protocol": record.protocol,
        "notes": record.notes,
        "beside it": record.remarks,
        "revised": record.revised,
        "parts": words.parts(record) if len(record.parts) > 1 else "",
    }
    return [f"  {name:<10} {value}" for name, value in rows.items() if value]


def per_text(claim: Claim, view: measured.Measured) -> list[str]:
    """What each text contributed: the two sides of the contrast, of a compound statement the shown part first."""
    try:
        outcome = claim.function(view)
    except Exception as error:  # the reason stands in the record above
        return [f"no per-text numbers: {error}"]
    if not isinstance(outcome, Estimate | Conjunction | Argmax):
        return [f"no per-text numbers: expected an estimate; got {type(outcome).__name__}"]
    if isinstance(outcome, Argmax):
        parts = [(f"the closest lead; {outcome.found}", outcome.closest)]
    elif isinstance(outcome, Conjunction):
        weakest = outcome.weakest(claim.region)
        others = [part for part in outcome.parts if part is not weakest]
        parts = [(part.label, part.estimate) for part in (weakest, *others)]
    else:
        parts = [("", outcome)]
    lines = [line for label, estimate in parts[:PARTS] for line in columns(label, estimate)]
    return [*lines, f"and {len(parts) - PARTS} other parts"] if len(parts) > PARTS else lines


def columns(label: str, estimate: Estimate) -> list[str]:
    """What each text has, of a ratio numerator and denominator; the mean in the last line."""
    sides = {"numerator": estimate.numerator, "denominator": estimate.denominator}
    if (estimate.denominator == 1).all():  # a mean or a difference
        sides = {"value": estimate.numerator}
    values = np.column_stack(list(sides.values()))
    ids = estimate.ids or tuple(str(i) for i in range(1, len(values) + 1))
    width = max(map(len, (*ids, "text", "mean")))
    rows = [f"{id:<{width}} {_cells(row)}" for id, row in zip(ids, values, strict=True)]
    head = f"{'text':<{width}} {''.join(f'{name:>14} ' for name in sides)}{label}".rstrip()
    return [head, *rows, f"{'mean':<{width}} {_cells(values.mean(axis=0))}"]


def _cells(values: np.ndarray) -> str:
    return " ".join(f"{value:>14.6g}" for value in values)
