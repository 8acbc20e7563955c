"""The lock: one expected verdict for every record of a pair, and the size of every family; written by `accept`."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dropeact import bundled
from dropeact.axes import InputError
from dropeact.verdicts.records import Record

PASS_WITHOUT_LOCK = ("supported", "inconclusive", "not applicable", "not measured")


@dataclass(frozen=True)
class Expected:
    """What was accepted for a pair; `locked` is False for a pair that nobody accepted results of.

    `complete` says that the accepted results themselves are judged: then every accepted verdict must be there. `own`
    are the records of a user's claims, which nobody accepted.
    """

    locked: bool = False
    families: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False
    own: frozenset[str] = frozenset()

    def complaint(self, record: Record, *, allow_untestable: bool = False) -> str:
        """Why this record fails, or an empty string where its verdict is as expected."""
        if record.is_broken:  # whatever was accepted: an error is no answer
            return f"{record.verdict}: {record.reason}"
        if record.verdict == "not measured" and not self.complete:
            return ""
        if not self.locked or record.key in self.own:
            if record.verdict in PASS_WITHOUT_LOCK or (allow_untestable and record.verdict == "untestable"):
                return ""
            return f"{record.verdict}: {record.reason}"
        accepted = self.verdicts.get(record.key)
        if accepted is None:
            return f"new record: {record.verdict}, no accepted verdict; `dropeact accept` locks it"
        if accepted != record.verdict:
            return (
                f"expected {accepted} (accepted); got {record.verdict}{f': {record.reason}' if record.reason else ''}"
            )
        return ""

    def beside(self, own: Iterable[Record]) -> "Expected":
        """The lock beside claims of a user's own, which it cannot know: they pass as on a pair without one."""
        return replace(self, own=frozenset(record.key for record in own))

    def orphans(self, records: Iterable[str]) -> dict[str, str]:
        """Why each accepted verdict fails that no record stands behind: its claim was renamed or removed."""
        return {
            key: f"expected {verdict} (accepted); no claim registers {key} any more; `dropeact accept` forgets it"
            for key, verdict in self.verdicts.items()
            if key not in set(records)
        }


def path(pair: str) -> Path:
    """Where the expected verdicts of a pair lie."""
    return bundled.folder("claims") / "expected" / f"{pair}.toml"


def load(pair: str) -> Expected:
    """The expected verdicts of a pair; an unlocked value where there is no file."""
    file = path(pair)
    if not file.is_file():
        return Expected()
    try:
        body = tomllib.loads(file.read_text("utf-8"))
        return Expected(True, body["families"], body["verdicts"])
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise InputError(
            f"expected [families] and [verdicts]; got {file}: {error}; restore it or accept again"
        ) from None


def as_toml(records: Sequence[Record]) -> str:
    """The text of an expected file for these records."""
    sizes = Counter(r.family for r in records if not r.exact and r.verdict != "not applicable")
    lines = [
        "# A lock, not a prediction: written by `dropeact accept`; each change is a commit of its own.",
        "[families]",
    ]
    lines += [f'"{family}" = {size}' for family, size in sorted(sizes.items())]
    lines += ["", "[verdicts]"]
    lines += [f'"{record.key}" = "{record.verdict}"' for record in sorted(records, key=lambda r: r.key)]
    return "\n".join(lines) + "\n"
