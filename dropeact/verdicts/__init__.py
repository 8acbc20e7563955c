"""Estimate + declared region -> supported | contradicted | inconclusive | untestable | not applicable.

`claim` registers a statement, `judge` evaluates every claim of a pair once from stored results, `expected` locks the
verdicts. Nothing here loads a model.
"""

from dropeact.verdicts.engine import judge
from dropeact.verdicts.records import Record
from dropeact.verdicts.registry import Claim, claim, load_claims

__all__ = ["Claim", "Record", "claim", "judge", "load_claims"]
