"""Several folders of results -> one Markdown table, claims x pairs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dropeact.report import words
from dropeact.store import Store
from dropeact.verdicts import Record, expected, judge


class Column(NamedTuple):
    """One folder: its title, what it was measured on, and its records by key."""

    title: str
    setting: str
    records: Mapping[str, Record]


def table(directories: Sequence[Path]) -> str:
    """Claims x pairs as Markdown: a verdict with estimate and interval in each cell."""
    columns = [column(directory) for directory in directories]
    records = {key: record for c in reversed(columns) for key, record in c.records.items()}
    order = dict.fromkeys(key for c in columns for key in c.records)
    lines = [
        f"| claim | published |{''.join(f' {c.title} |' for c in columns)}",
        f"|---|---|{'---|' * len(columns)}",
        f"| | |{''.join(f' {c.setting} |' for c in columns)}",
    ]
    for key in order:
        cells = "".join(f" {cell(c.records.get(key))} |" for c in columns)
        lines.append(f"| {key.replace('[direction]', '')} | {words.headline(records[key])} |{cells}")
    return "\n".join([*lines, "", counts(columns)]) + "\n"


def column(directory: Path) -> Column:
    """Judge one folder."""
    run = Store(directory).read_run()
    pair = run["pair"]
    judged = judge(directory, families=expected.load(pair["name"]).families)
    setting = f"{run['texts']} texts, {run['arm']} arm, {run['dtype']}"
    measured = {record.key: record for record in judged if record.verdict != "not measured"}
    return Column(f"{pair['title'] or pair['name']} (`{directory.name}`)", setting, measured)


def cell(record: Record | None) -> str:
    """Verdict, estimate and interval; a dash where the pair has no such record."""
    if record is None:
        return "–"
    estimate = "" if record.estimate is None else f" {words.measured(record)}"
    return f"{words.MARKS[record.verdict]}{estimate}".replace("|", "\\|")


def counts(columns: Sequence[Column]) -> str:
    """How many records of the table all pairs agree on."""
    keys = [key for key in columns[0].records if all(key in c.records for c in columns)]
    agreed = sum(len({c.records[key].verdict for c in columns}) == 1 for key in keys)
    return f"{agreed} of {len(keys)} records that all have carry the same verdict."
