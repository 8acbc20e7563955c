"""Audit what was printed against the raw figures behind it: a TOML of checks and a JSON of figures in, findings out."""

from dropeact.audit.checks import Check
from dropeact.audit.findings import DIFFERENT, VERDICTS, Finding, Verdict, audit
from dropeact.audit.shell import command

__all__ = ["DIFFERENT", "VERDICTS", "Check", "Finding", "Verdict", "audit", "command"]
