"""The command `dropeact audit`: options in, the findings on standard output and the exit status out."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dropeact.audit.findings import DIFFERENT, Finding, audit
from dropeact.audit.render import as_json, markdown, table
from dropeact.axes import InputError
from dropeact.published import path, read_toml

Style = Literal["text", "json", "md"]
_RENDERERS = {"text": table, "json": as_json, "md": markdown}


def command(
    checks: Path | None = None,
    evidence: Path | None = None,
    *,
    style: Style = "text",
    expect: Path | None = None,
) -> int:
    """Audit, print and return the exit status: 0 nothing differs, or just what `expect` lists; 1 otherwise.

    Without `checks` and `evidence` the published study is audited. With `expect`, a difference that is not in the file,
    one with another verdict, and one in the file that is gone are listed on standard error.

    Raises
    ------
    InputError
        When a file is missing or malformed, or one of `checks` and `evidence` is given without the other.
    """
    findings = audit(*_files(checks, evidence))
    surprises = unexpected(findings, read_expected(expect)) if expect else _differences(findings)
    print(_RENDERERS[style](findings))
    if expect:
        print("\n".join(surprises) or f"all differences are those of {expect}", file=sys.stderr)
    return 1 if surprises else 0


def read_expected(file: Path) -> dict[str, str]:
    """Read the known differences, `[expected]` with check id = verdict."""
    expected = read_toml(file).get("expected")
    if not isinstance(expected, dict):
        raise InputError(
            f'expected [expected] with lines "check/row" = "verdict" in {file}; got none; see docs/audit.md'
        )
    for check, verdict in expected.items():
        if verdict not in DIFFERENT:
            raise InputError(f"expected {' or '.join(DIFFERENT)} for {check!r} in {file}; got {verdict!r}; correct it")
    return expected


def unexpected(findings: Sequence[Finding], expected: Mapping[str, str]) -> list[str]:
    """Compare the differences with the known ones, in one line each: new, gone, or of another verdict."""
    verdicts = {finding.id: finding.verdict for finding in findings}
    found = {finding.id: finding.verdict for finding in findings if finding.differs}
    new = [f"new: {check}: {verdict}" for check, verdict in found.items() if check not in expected]
    moved = {check: verdicts.get(check, "no such check") for check in expected if found.get(check) != expected[check]}
    kind = {check: "changed" if check in found else "gone" for check in moved}
    return new + [f"{kind[check]}: {check}: expected {expected[check]}; got {now}" for check, now in moved.items()]


def _differences(findings: Sequence[Finding]) -> list[str]:
    return [finding.id for finding in findings if finding.differs]


def _files(checks: Path | None, evidence: Path | None) -> tuple[Path, Path]:
    if (checks is None) != (evidence is None):
        raise InputError("expected CHECKS and EVIDENCE together; got one of them; give both files or neither")
    return checks or path("audit.toml"), evidence or path("evidence.json")
