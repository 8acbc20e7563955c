"""Records and audit -> the first page: what holds, what does not, what would decide, and what the audit found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, log
from typing import NamedTuple

from dropeact.audit import Finding
from dropeact.estimators.contrasts import ALPHA
from dropeact.report import words
from dropeact.report.distance import disagreements, falls_short, outside
from dropeact.verdicts.records import Record

MOST = 5
EXACTLY = "the same of every text"


class Disagreement(NamedTuple):
    """A contradicted record, and how far its interval lies from the region."""

    record: Record
    distance: str
    falls_short: bool


class FirstPage(NamedTuple):
    """What the first page shows, each list in the order of the report."""

    disagreements: list[Disagreement]
    further: list[Record]
    short: list[Record]
    supported: list[Record]
    inconclusive: list[Record]
    without: list[Record]
    unmeasured: list[tuple[str, int]]
    families: int
    alpha: float
    revised: list[Record]
    shared: list[list[Record]]
    findings: list[Finding]


def first_page(records: Sequence[Record], audited: Sequence[Finding]) -> FirstPage:
    """Choose from the results; the two rules of choice are `disagreements` and `largest`."""
    against = disagreements(records)
    counted = [record for record in records if record.verdict not in ("not applicable", "not measured")]
    return FirstPage(
        disagreements=[Disagreement(r, away(r), falls_short(r)) for r in against[:MOST]],
        further=[record for record in against[MOST:] if not falls_short(record)],
        short=[record for record in against[MOST:] if falls_short(record)],
        supported=[record for record in records if record.verdict == "supported"],
        inconclusive=[record for record in records if record.verdict == "inconclusive"],
        without=[record for record in records if record.verdict in ("untestable", "not applicable")],
        unmeasured=sorted(Counter(record.set for record in records if record.verdict == "not measured").items()),
        families=len({record.family for record in counted}),
        alpha=ALPHA,
        revised=[record for record in records if record.revised and record.verdict != "not measured"],
        shared=shared(records),
        findings=largest(audited),
    )


def shared(records: Sequence[Record]) -> list[list[Record]]:
    """The records whose estimate and interval are the same numbers, together: they are no separate evidence."""
    same: dict[tuple[float | None, ...], list[Record]] = {}
    for record in records:
        if record.estimate is not None:
            same.setdefault((record.estimate, record.low, record.high), []).append(record)
    return [members for members in same.values() if len(members) > 1]


def away(record: Record) -> str:
    """How far the interval lies from the region, in standard deviations over texts where texts differ at all."""
    standardised = outside(record)
    return f"{words.number(standardised)} standard deviations over texts away" if isfinite(standardised) else EXACTLY


def largest(audited: Sequence[Finding]) -> list[Finding]:
    """The MOST printed figures that the raw figures exclude by the largest factor; each place in the text once."""
    wrong = sorted(
        (finding for finding in audited if finding.differs and finding.ratio is not None),
        key=lambda finding: (-abs(log(finding.ratio or 1.0)), finding.id),
    )
    by_place: dict[str, Finding] = {}
    for finding in wrong:
        by_place.setdefault(finding.check.where, finding)
    return list(by_place.values())[:MOST]


def unlabelled(record: Record) -> str:
    """Estimate, interval and unit, without the part's name where the reason has it."""
    return words.measured(replace(record, label="") if record.label in record.reason else record)
