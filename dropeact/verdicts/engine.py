"""Name the verdicts of evaluated claims: adjusted within each family, each a record with the reason for it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dropeact import published
from dropeact.estimators import Conjunction, Estimate, Region
from dropeact.estimators.contrasts import LEVEL
from dropeact.estimators.items import Items
from dropeact.estimators.power import sign_flip, skewness
from dropeact.verdicts.evaluation import SAMPLED, Evaluated, outcomes
from dropeact.verdicts.records import Record, by_experiment, finite
from dropeact.verdicts.registry import Claim
from dropeact.verdicts.rule import Outcome, Verdict, decide, holm, shown, why_contradicted, why_inconclusive


def judge(
    directory: Path, *, claims: Mapping[str, Claim] | None = None, families: Mapping[str, int] | None = None
) -> list[Record]:
    """Judge every claim of the pair whose results lie in `directory`, in the order of experiment and id.

    `families` fixes the size of each family (the expected file does); without it a family is as large as it is.
    """
    return judged(outcomes(directory, claims=claims), families)


def judged(evaluated: Sequence[Evaluated], families: Mapping[str, int] | None = None) -> list[Record]:
    """The records of evaluated claims, in the order of experiment and id."""
    return sorted(verdicts(evaluated, families or {}), key=_order)


def verdicts(evaluated: Sequence[Evaluated], families: Mapping[str, int]) -> list[Record]:
    """Adjust within each family and name the verdicts."""
    members: dict[str, list[Evaluated]] = defaultdict(list)
    for item in evaluated:
        members[item.claim.family].append(item)
    records = []
    for family, items in members.items():
        counted = [item for item in items if item.counted]
        size = max(families.get(family, 0), len(counted))
        adjusted = dict(zip(map(id, counted), holm([item.p.decisive for item in counted], size), strict=True))
        records += [record(item, float(adjusted.get(id(item), item.p.decisive)), size) for item in items]
    return records


def record(item: Evaluated, adjusted: float, family: int) -> Record:
    """One evaluated claim as a record, with its verdict and the reason for it."""
    empty = Record(
        id=item.claim.id,
        kind=item.kind,
        statement=item.claim.statement,
        experiment=item.claim.experiment,
        source=_published(item.claim.id).get("source", "this project"),
        layers=item.claim.layers,
        family=item.claim.family,
        verdict=item.verdict or "untestable",  # pyright: ignore[reportArgumentType] - one of the words of `Verdict` by construction
        estimate=None,
        low=None,
        high=None,
        level=LEVEL,
        unit="",
        n=0,
        region=_as_dict(item.region),
        published=_published(item.claim.id).get("figures"),
        reason=item.failure,
        p_support=1.0,
        p_contradict=1.0,
        p_adjusted=1.0,
        protocol=item.protocol,
        notes=item.claim.note,
        remarks=" ".join(f"{text}." for text in item.remarks),
        revised=item.claim.revised,
        set=item.claim.set,
        claim_hash=item.claim.source_hash(item.kind),
    )
    if item.outcome is None:
        return empty
    verdict = decide(item.p, adjusted, untested=bool(item.untested))
    if verdict == "untestable":
        return replace(empty, reason="; ".join(item.untested))
    return _decided(empty, item, item.outcome, verdict, adjusted, family)


def _decided(
    empty: Record, item: Evaluated, outcome: Outcome, verdict: Verdict, adjusted: float, family: int
) -> Record:
    reason = {
        "supported": lambda: "",
        "contradicted": lambda: why_contradicted(outcome, item.region),
        "inconclusive": lambda: str(
            item.noise
            or why_inconclusive(outcome, item.region, max(family, 1), sample=SAMPLED.get(item.claim.set, "texts"))
        ),
    }[verdict]()
    seen = shown(outcome, item.region)
    flips, skew = _diagnostics(outcome, item.region)
    return replace(
        empty,
        verdict=verdict,
        estimate=finite(seen.value),
        low=finite(seen.low),
        high=finite(seen.high),
        unit=seen.unit,
        n=seen.n,
        region=_as_dict(seen.region),
        reason=reason,
        p_support=item.p.support,
        p_contradict=item.p.contradict,
        p_adjusted=adjusted,
        exact=seen.exact,
        label=seen.label,
        remarks=" ".join(filter(None, (empty.remarks, *(f"Not tested: {text}." for text in item.untested)))),
        parts=_parts(outcome),
        sign_flip=flips,
        skewness=skew,
    )


def _parts(outcome: Outcome) -> list[dict[str, Any]]:
    """Each part of a compound statement with its interval, of no width where it is exact; none of a plain one."""
    if not isinstance(outcome, Conjunction):
        return []
    shown = [(part.label, part.estimate) for part in outcome.parts]
    ends = [(e.value, e.value) if e.is_exact else e.interval for _, e in shown]
    return [
        {"label": label, "estimate": finite(e.value), "low": finite(low), "high": finite(high)}
        for (label, e), (low, high) in zip(shown, ends, strict=True)
    ]


def _as_dict(region: Region) -> dict[str, Any]:
    return {"scale": region.scale, "low": finite(region.low), "high": finite(region.high)}


def _diagnostics(outcome: Outcome, region: Region) -> tuple[float | None, float | None]:
    """Sign-flip p and skewness of the contrast at the nearest bound: printed, they decide nothing.

    Of items no skewness: their test has the spread that theirs would have on the bound.
    """
    if not isinstance(outcome, Estimate) or outcome.is_exact:
        return None, None
    bounds = [bound for bound in (region.low, region.high) if np.isfinite(bound)]
    bound = min(bounds, key=lambda b: abs(outcome.value - b))
    contrast = outcome.contrast(bound)
    toward = contrast if contrast.mean() >= 0 else -contrast
    return sign_flip(toward), None if isinstance(outcome, Items) else skewness(contrast)


def _published(id: str) -> dict[str, Any]:
    entry = published.claims().get(id)
    return {} if entry is None else {"source": entry.source, "figures": dict(entry.figures) or None}


def _order(record: Record) -> tuple[int, str, str, str]:
    return (*by_experiment(record.experiment), record.id, record.kind)
