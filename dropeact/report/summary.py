"""One folder of results -> what CI shows: a short Markdown summary, and the JSON behind a badge."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dropeact import bundled
from dropeact.report import words
from dropeact.report.against import against
from dropeact.run_file import check_ended
from dropeact.store import Store
from dropeact.verdicts import Record, expected, judge, load_claims
from dropeact.verdicts.expected import Expected
from dropeact.verdicts.regression import compare

MOST_BYTES = 1_000_000  # a step summary on GitHub holds 1 MiB, a comment 65,536 characters


def judged(directory: Path, baseline: Path | None) -> tuple[dict[str, Any], list[Record], Expected]:
    """The run, its records, and the lock of its pair, beside claims of a user's own, or that of a baseline."""
    run = Store(directory).read_run()
    check_ended(run, directory)
    lock, claims = expected.load(run["pair"]["name"]), load_claims()
    records = judge(directory, families=lock.families)
    if baseline is not None:
        return run, records, against(compare(baseline, directory))
    lock = replace(lock, complete=bundled.is_accepted(directory))
    return run, records, lock.beside(record for record in records if claims[record.id].is_own)


def summary(directory: Path, baseline: Path | None = None) -> str:
    """Counts, what is not as expected, and the table of the claims, below MOST_BYTES."""
    run, records, lock = judged(directory, baseline)
    pair = run["pair"]
    lines = [
        f"## Claims on {pair['title'] or pair['name']}",
        "",
        f"{counted(records)}. {run['texts']} texts, `{run['arm']}` arm, {run['dtype']}, {run['device']}.",
        "",
        *unexpected(records, lock),
        "| claim | published | measured here | verdict |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| {r.key.replace('[direction]', '')} | {words.headline(r)} | {words.measured(r)} | {words.MARKS[r.verdict]} |"
        for r in records
        if r.verdict != "not measured"
    ]
    return bounded([*lines, *rows])


def complaints(records: Sequence[Record], lock: Expected) -> dict[str, str]:
    """What is not as expected, by record: a verdict, or one that no claim stands behind any more."""
    said = {record.key: lock.complaint(record) for record in records}
    return {key: complaint for key, complaint in said.items() if complaint} | lock.orphans(said)


def unexpected(records: Sequence[Record], lock: Expected) -> list[str]:
    """A list of what is not as expected; nothing where all is."""
    lines = [f"- `{key}`: {complaint}" for key, complaint in complaints(records, lock).items()]
    return ["### Not as expected", "", *lines, ""] if lines else []


def badge(directory: Path, baseline: Path | None = None) -> str:
    """The JSON that a shields.io endpoint badge reads: counts; red where a verdict is not as expected."""
    run, records, lock = judged(directory, baseline)
    body = {
        "schemaVersion": 1,
        "label": f"claims on {run['pair']['name']}",
        "message": counted(records, between=" · "),
        "color": "red" if complaints(records, lock) else "blue",
    }
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def counted(records: Sequence[Record], *, between: str = ", ") -> str:
    """How many records have each verdict; those that were not measured are left out."""
    counts = Counter(record.verdict for record in records)
    named = [f"{counts[verdict]} {verdict}" for verdict in words.MARKS if counts[verdict] and verdict != "not measured"]
    return between.join(named) or "nothing measured"


def bounded(lines: Sequence[str], most: int = MOST_BYTES) -> str:
    """The lines as one text, cut at a line end with a remark where it would exceed `most` bytes."""
    text, size, remark = [], 0, "…\n\nCut here: the whole table is in FINDINGS.md.\n"
    for line in lines:
        size += len(line.encode()) + 1
        if size > most - len(remark.encode()):
            return "".join(text) + remark
        text.append(f"{line}\n")
    return "".join(text)
