"""Evaluate every claim of a pair once from stored results; an exception becomes a reason, with p = 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dropeact import measured as views
from dropeact import pairs
from dropeact.axes import InputError
from dropeact.estimators import Conjunction, NotApplicable, PValues, Region, Untestable
from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.outcomes import remarking
from dropeact.measured import Measured, MissingMeasurement
from dropeact.store import Store
from dropeact.verdicts.noise import Noise, within_noise
from dropeact.verdicts.records import ERROR
from dropeact.verdicts.registry import Claim, Function, Kind, load_claims
from dropeact.verdicts.rule import Outcome, is_exact

OUTSIDE_FAMILY = ("not applicable",)
ITEMS = {"behaviour": "facts and prompts", "long": "long prompts"}  # what the sets that are not about texts consist of
SAMPLED = {"behaviour": "pairs of facts or prompts", "long": "prompts"}  # and what counts as one there


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
    def untested(self) -> tuple[str, ...]:
        """Why parts of a compound statement have no test."""
        return self.outcome.untested if isinstance(self.outcome, Conjunction) else ()

    @property
    def counted(self) -> bool:
        """Whether the record belongs to its family: exact and not-applicable ones are outside."""
        return self.verdict not in OUTSIDE_FAMILY and not (self.outcome is not None and is_exact(self.outcome))


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
