"""Labelled arrays -> estimate, interval, p: one contrast per text, one-sample t, Fieller for ratios.

Everything a claim may return lives here: `mean`, `difference` and `ratio` give an `Estimate`; `both`, `only`,
`argmax` and `every` combine several into a `Conjunction` or an `Argmax`. Each has `p_values(region)`, the one-sided
evidence for the region and for its complement; an `Estimate` also has `value`, `low`, `high` and `n`. What is
right or wrong, yes or no, has `items.mean`, `items.difference`, `items.ratio` and `items.average`.
"""

from dropeact.estimators.compound import Argmax, Conjunction, EveryArgmax, Part, argmax, both, every, only, where_tested
from dropeact.estimators.contrasts import Estimate, difference, exact, mean, ratio
from dropeact.estimators.outcomes import NotApplicable, PValues, Untestable
from dropeact.estimators.regions import Region

__all__ = [
    "Argmax",
    "Conjunction",
    "Estimate",
    "EveryArgmax",
    "NotApplicable",
    "PValues",
    "Part",
    "Region",
    "Untestable",
    "argmax",
    "both",
    "difference",
    "every",
    "exact",
    "mean",
    "only",
    "ratio",
    "where_tested",
]
