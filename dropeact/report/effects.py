"""Stored results -> our estimates beside published effects that were printed with a spread; judges nothing."""

from collections.abc import Mapping
from math import isfinite, isnan
from pathlib import Path

from dropeact import published
from dropeact.estimators import Estimate
from dropeact.estimators.prediction import PublishedEffect, Replication, published_effect, replication
from dropeact.report.words import number
from dropeact.verdicts import load_claims
from dropeact.verdicts.evaluation import Evaluated, outcomes


def replications(directory: Path) -> dict[str, Replication]:
    """Key of a record -> how our estimate and the published effect compare; only where a spread was printed."""
    known = published.claims()
    spreads = {id for id, entry in known.items() if any(name.endswith("_sd") for name in entry.figures)}
    claims = {id: claim for id, claim in load_claims().items() if id in spreads}
    found = ((item, effect_of(item, known)) for item in outcomes(directory, claims=claims))
    return {
        f"{item.claim.id}[{item.kind}]": replication(item.outcome, effect)
        for item, effect in found
        if effect is not None and isinstance(item.outcome, Estimate) and isfinite(item.outcome.value)
    }


def effect_of(item: Evaluated, known: Mapping[str, published.Published]) -> PublishedEffect | None:
    """The published effect on the scale of the outcome; None where none was printed with a spread."""
    if not isinstance(item.outcome, Estimate):
        return None
    entry = known[item.claim.id]
    return published_effect(entry.figures, entry.n, scale=item.outcome.scale)


def sentence(found: Replication) -> str:
    """The comparison in words."""
    sign = "the same sign" if found.same_sign else "not the same sign"
    place = "inside" if found.inside else "outside"
    return (
        f"published {number(found.published)}: {sign}, {place} our 95 % prediction interval "
        f"[{number(found.low)}, {number(found.high)}], effect ratio {ratio(found)}"
    )


def ratio(found: Replication) -> str:
    """Our effect over the published one; a dash where the published effect is none."""
    return "—" if isnan(found.effect_ratio) else number(found.effect_ratio)
