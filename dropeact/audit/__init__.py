"""Audit what was printed against the raw figures behind it: a TOML of checks and a JSON of figures in, findings out."""

from dropeact.audit.findings import Finding, audit
from dropeact.audit.shell import command

__all__ = ["Finding", "audit", "command"]
