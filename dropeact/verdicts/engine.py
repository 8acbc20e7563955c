"""Evaluate every claim of a pair once from stored results; an exception becomes that record's error with p = 1."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dropeact import measured as views
from dropeact import pairs, published
from dropeact.axes import InputError
from dropeact.estimators import Estimate, NotApplicable, PValues, Region, Untestable
from dropeact.estimators.contrasts import ALPHA, LEVEL
from dropeact.estimators.outcomes import remarking
from dropeact.estimators.power import sign_flip, skewness
from dropeact.measured import Measured, MissingMeasurement
from dropeact.store import Store
from dropeact.verdicts.noise import Noise, within_noise
from dropeact.verdicts.records import ERROR, Record, by_experiment, finite
from dropeact.verdicts.registry import Claim, Function, Kind, load_claims
from dropeact.verdicts.rule import Outcome, decide, holm, is_exact, shown, why_contradicted, why_inconclusive

OUTSIDE_FAMILY = ("not applicable",)
ITEMS = {"behaviour": "facts and prompts", "long": "long prompts"}  # what the sets that are not about texts consist of


@dataclass(frozen=True)
class Evaluated:
    """One claim of one kind, evaluated: an outcome with its p-values, or a reason why there is none, and remarks."""

    claim: Claim
    kind: Kind
    region: Region
    protocol: str
    outcome: Outcome | None
    p: PValues
    failure: str = ""
    verdict: str = ""
    noise: Noise | None = None
    remarks: tuple[str, ...] = ()

    @property
    def counted(self) -> bool:
        """Whether the record belongs to its family: exact and not-applicable ones are outside."""
        return self.verdict not in OUTSIDE_FAMILY and not (self.outcome is not None and is_exact(self.outcome))


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


def outcomes(directory: Path, *, claims: Mapping[str, Claim] | None = None) -> list[Evaluated]:
    """Evaluate every claim of the pair whose results lie in `directory`: what `judge` names verdicts of."""
    store = Store(directory)
    run = store.read_run()
    pair = pairs.from_dict(run["pair"], f"{directory}/run.json")
    natural = views.natural(store, pair, arm=run.get("arm"))
    published_way = {"natural": natural, "replication": views.replication(store, pair, arm=run.get("arm"))}
    return [
        evaluate(
            claim,
            kind,
            function,
            region,
            published_way[claim.replication_protocol] if kind == "magnitude" else natural,
            run["sets"],
        )
        for claim in (load_claims() if claims is None else claims).values()
        for kind, function, region in claim.records_on(pair)
    ]


def evaluate(
    claim: Claim, kind: Kind, function: Function, region: Region, measured: Measured, sets: Sequence[str] = ("core",)
) -> Evaluated:
    """Run one claim function; whatever it raises becomes a reason, never a pass."""
    nothing = PValues(1.0, 1.0)
    protocol, remarks = str(measured.protocol), []
    if claim.set in ITEMS:
        protocol = f"{ITEMS[claim.set]}, {measured.protocol.arm} arm"

    def failed(verdict: str, reason: str) -> Evaluated:
        return Evaluated(claim, kind, region, protocol, None, nothing, reason, verdict, remarks=tuple(remarks))

    if claim.layers == "literal" and not measured.pair.published:
        return failed("not applicable", "names literal layers that have no general form")
    if claim.set not in sets:  # cells of a set that a run has not ended are no results
        return failed("not measured", f"the set {claim.set!r} was not measured")
    try:
        with remarking() as remarks:
            outcome = function(measured)
        p = outcome.p_values(region)
        noise = within_noise(outcome, region, measured, function) if p.support <= ALPHA else None
    except NotApplicable as reason:
        return failed("not applicable", str(reason))
    except MissingMeasurement as missing:
        return failed("untestable", f"missing measurement {missing}")
    except Untestable as reason:
        return failed("untestable", str(reason))
    except InputError:  # a damaged store is unusable input, not a verdict
        raise
    except Exception as error:  # one broken claim must not take the others with it
        return failed("untestable", f"{ERROR}{type(error).__name__}: {' '.join(str(error).split())}")
    if not np.isfinite(p).all():
        return failed("untestable", "the test gave no p-value (NaN)")
    kept = PValues(1.0, p.contradict) if noise else p
    return Evaluated(claim, kind, region, protocol, outcome, kept, noise=noise, remarks=tuple(remarks))


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
        notes=" ".join(filter(None, (item.claim.note, *(f"{text}." for text in item.remarks)))),
        set=item.claim.set,
        claim_hash=item.claim.source_hash(item.kind),
    )
    return empty if item.outcome is None else _decided(empty, item, item.outcome, adjusted, family)


def _decided(empty: Record, item: Evaluated, outcome: Outcome, adjusted: float, family: int) -> Record:
    verdict = decide(item.p, adjusted)
    reason = {
        "supported": lambda: "",
        "contradicted": lambda: why_contradicted(outcome, item.region),
        "inconclusive": lambda: str(
            item.noise or why_inconclusive(outcome, item.region, max(family, 1), sample=_sample(item.claim))
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
        sign_flip=flips,
        skewness=skew,
    )


def _as_dict(region: Region) -> dict[str, Any]:
    return {"scale": region.scale, "low": finite(region.low), "high": finite(region.high)}


def _sample(claim: Claim) -> str:
    return "items" if claim.set in ITEMS else "texts"


def _diagnostics(outcome: Outcome, region: Region) -> tuple[float | None, float | None]:
    """Sign-flip p and skewness of the contrast at the nearest bound: printed, they decide nothing."""
    if not isinstance(outcome, Estimate) or outcome.is_exact:
        return None, None
    bounds = [bound for bound in (region.low, region.high) if np.isfinite(bound)]
    bound = min(bounds, key=lambda b: abs(outcome.value - b))
    contrast = outcome.contrast(bound)
    toward = contrast if contrast.mean() >= 0 else -contrast
    return sign_flip(toward), skewness(contrast)


def _published(id: str) -> dict[str, Any]:
    entry = published.claims().get(id)
    return {} if entry is None else {"source": entry.source, "figures": dict(entry.figures) or None}


def _order(record: Record) -> tuple[int, str, str, str]:
    return (*by_experiment(record.experiment), record.id, record.kind)
