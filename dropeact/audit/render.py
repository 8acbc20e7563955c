"""Findings as a reader gets them: a text table of 100 columns, JSON, or Markdown."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any

from dropeact.audit.findings import VERDICTS, Finding
from dropeact.bundled import folder

WIDTH = 100
_COLUMNS = (16, 38, 13, 22, 11)
_HEADS = {
    "contradicted": ("printed", "against it", "by"),
    "not reproduced": ("printed", "recomputed", "by"),
    "no raw figure": ("printed", "the nearest", ""),
}
SCHEMA = 1


def summary(findings: Sequence[Finding]) -> str:
    """Count the findings by verdict, in one sentence."""
    counts = Counter(finding.verdict for finding in findings)
    slight = sum(finding.slight for finding in findings)
    words = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    return f"{len(findings)} checks of printed figures: {', '.join(words)}; {slight} differ by under 1 %."


def table(findings: Sequence[Finding]) -> str:
    """Write every difference, every figure without raw data, and the rest in counts; no line exceeds `WIDTH`."""
    lines = [*wrap(summary(findings), WIDTH)]
    for verdict, heads in _HEADS.items():
        rows = [finding for finding in findings if finding.verdict == verdict and not finding.slight]
        if rows:
            lines += ["", verdict.upper(), _line("where", "what", *heads), "-" * WIDTH]
            notes = ["", *(finding.note for finding in rows)]
            lines += [line for finding, last in zip(rows, notes, strict=False) for line in _lines(finding, last)]
    slight = [f"{f.check.what} {f.printed_text} ({f.found_text})" for f in findings if f.slight]
    lines += _paragraph("UNDER 1 %", slight)
    kept = Counter(finding.check.where for finding in findings if finding.verdict == "reproduced")
    lines += _paragraph("REPRODUCED, by section", [f"{where}: {count}" for where, count in kept.items()])
    outside = Counter(finding.check.where for finding in findings if finding.verdict == "out of scope")
    return "\n".join(lines + _paragraph("OUT OF SCOPE", [f"{where}: {count}" for where, count in outside.items()]))


def as_json(findings: Sequence[Finding]) -> str:
    """Write every finding as a record: numbers are numbers, missing is null."""
    counts = Counter(finding.verdict for finding in findings)
    records = [_record(finding) for finding in findings]
    content = {"schema": SCHEMA, "counts": {verdict: counts[verdict] for verdict in VERDICTS}, "findings": records}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def markdown(findings: Sequence[Finding]) -> str:
    """Render report_templates/audit.md.j2, the section that FINDINGS.md includes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(folder("report_templates"))
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("audit.md.j2").render(findings=findings)


def _record(finding: Finding) -> dict[str, Any]:
    check = finding.check
    return {
        "id": finding.id,
        "verdict": finding.verdict,
        "claims": list(check.claims),
        "where": check.where,
        "what": check.what,
        "unit": check.unit,
        "printed": {"text": check.printed.text, "value": check.printed.value, "step": check.printed.step},
        "recomputed": finding.recomputed,
        "elsewhere": None if finding.rival is None else {"value": finding.rival, "where": check.elsewhere_where},
        "ratio": finding.ratio,
        "slight": finding.slight,
        "also": dict(finding.also),
        "expression": check.raw or check.shows or check.nearest or None,
        "reason": check.none or check.outside or None,
        "note": check.note or None,
    }


def _lines(finding: Finding, last_note: str) -> Iterable[str]:
    cells = (finding.check.where, finding.check.what, finding.printed_text, finding.found_text, finding.difference_text)
    wrapped = [wrap(cell, width - 1) or [""] for cell, width in zip(cells, _COLUMNS, strict=True)]
    for row in range(max(map(len, wrapped))):
        yield _line(*(cell[row] if row < len(cell) else "" for cell in wrapped))
    indent = " " * _COLUMNS[0]
    for remark in (finding.also_text, finding.note if finding.note != last_note else ""):
        yield from wrap(remark, WIDTH, initial_indent=indent + "- ", subsequent_indent=indent + "  ")


def _line(*cells: str) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, _COLUMNS, strict=True)).rstrip()


def _paragraph(title: str, items: Sequence[str]) -> list[str]:
    return ["", title, *wrap("; ".join(items) + ".", WIDTH)] if items else []
