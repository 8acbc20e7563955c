"""The table that ends a run of the claims: at most 100 columns."""

from collections import Counter
from collections.abc import Sequence

from dropeact.report import words
from dropeact.verdicts.expected import Expected
from dropeact.verdicts.records import Record

WIDTH = 100


def table(records: Sequence[Record], lock: Expected) -> list[str]:
    """One line per measured record, then the counts."""
    shown = [record for record in records if record.verdict != "not measured"]
    lines = [f"{'record':<43}{'verdict':<16}{'estimate':>10}  {'interval':<22}  n"]
    for record in shown:
        unexpected = " !" if lock.locked and lock.complaint(record) else ""
        estimate = words.signed(record, record.estimate)
        key = record.key if len(record.key) <= 42 else f"{record.key[:41]}…"
        line = f"{key:<43}{record.verdict:<16}{estimate:>10}  {words.interval(record):<22}  {record.n}{unexpected}"
        lines.append(line[:WIDTH].rstrip())
    counts = Counter(record.verdict for record in records)
    lines.append(", ".join(f"{verdict}: {counts[verdict]}" for verdict in words.MARKS if counts[verdict]))
    return lines
