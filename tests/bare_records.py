"""A record of a verdict without a run behind it, for what reads records alone."""

from dropeact.verdicts.records import Record

NAMES = ("id", "kind", "statement", "experiment", "source", "layers", "family", "unit", "reason", "protocol", "notes")
BARE = Record(
    **dict.fromkeys(NAMES, ""),
    verdict="supported",
    estimate=None,
    low=None,
    high=None,
    level=0.95,
    n=1,
    region={"scale": "difference", "low": 0.5, "high": None},
    published=None,
    p_support=None,
    p_contradict=None,
    p_adjusted=None,
)
