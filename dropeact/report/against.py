"""A comparison with a baseline -> the lock that it gives: a record fails where it regressed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dropeact.report.diff import line
from dropeact.verdicts import Record
from dropeact.verdicts.expected import Expected
from dropeact.verdicts.regression import Change, Comparison


@dataclass(frozen=True)
class Against(Expected):
    """The lock that a baseline gives: a record fails where it regressed."""

    changes: Mapping[str, Change] = field(default_factory=dict)

    def complaint(self, record: Record, *, allow_untestable: bool = False) -> str:
        """What moved, where this record regressed; else an empty string."""
        change = self.changes.get(record.key)
        return line(change) if change is not None and change.regressed else ""

    def orphans(self, records: Iterable[str]) -> dict[str, str]:
        """What each verdict of the baseline was that no claim stands behind any more."""
        return {key: line(change) for key, change in self.changes.items() if change.state == "orphaned verdict"}


def against(compared: Comparison) -> Against:
    """The lock of a comparison."""
    verdicts = {change.key: change.old.verdict for change in compared.changes if change.old is not None}
    return Against(True, {}, verdicts, changes={change.key: change for change in compared.changes})
