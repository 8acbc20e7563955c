"""Stored results -> what each claim's verdict would be under other thresholds, sites, means, lengths and arms.

None of this is the declared rule: every setting is judged by itself, without Holm's correction, and decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from dropeact.axes import COLUMNS, LAMBDAS, SINK_THRESHOLD, SITES
from dropeact.estimators import Conjunction, PValues
from dropeact.measured import Measured, MissingMeasurement, Protocol
from dropeact.one_model import CACHED
from dropeact.store import Store
from dropeact.verdicts.registry import Claim
from dropeact.verdicts.rule import Outcome, Shown, Verdict, decide, shown

BETWEEN = (6.0, 8.0, 9.0)  # along the declared site and mean alone: points of a curve
TAUS = (0.1, 0.2, SINK_THRESHOLD, 0.4, 0.5)
MEANS = ("layer", "head")
CURVES = {"massive_threshold": "lambda", "sink_threshold": "tau"}


class Traced(Protocol):
    """A protocol that remembers which of its settings were asked for."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            object.__getattribute__(self, "__dict__").setdefault("_asked", set()).add(name)
        return object.__getattribute__(self, name)


@dataclass(frozen=True)
class Setting:
    """One claim under one protocol: its verdict by itself and the numbers beside it (None where it has none)."""

    protocol: Protocol
    verdict: Verdict
    shown: Shown | None


@dataclass(frozen=True)
class Strip:
    """A claim under every stored setting that it depends on; `varied` names the settings that were varied."""

    claim: Claim
    varied: tuple[str, ...]
    settings: tuple[Setting, ...]

    def along(self, name: str) -> list[Setting]:
        """The settings that differ from the declared ones in `name` alone, in its order; none if it is not varied."""
        if name not in self.varied:
            return []
        declared = self.settings[0].protocol
        alone = [s for s in self.settings if replace(s.protocol, **{name: getattr(declared, name)}) == declared]
        return sorted(alone, key=lambda s: getattr(s.protocol, name))


def strips(measured: Measured, claims: Mapping[str, Claim]) -> dict[str, Strip]:
    """The strip of every claim that depends on a setting with more than one stored value."""
    stored = stored_values(measured)
    by_arm = {arm: _read(measured.under(replace(measured.protocol, arm=arm))) for arm in stored["arm"]}
    judged = (strip(claim, by_arm, stored) for claim in claims.values())
    return {found.claim.id: found for found in judged if found is not None}


def _read(measured: Measured) -> Measured:
    """The same measurements, read now what is stored of them, so that views under other settings share it."""
    for model in measured.columns:
        for name in CACHED:
            with suppress(MissingMeasurement):
                getattr(model, name)
    return measured


def strip(claim: Claim, by_arm: Mapping[str, Measured], stored: Mapping[str, Sequence[Any]]) -> Strip | None:
    """One claim under the product of the settings that its function asks for; the declared ones come first.

    `by_arm` holds the measurements of each arm, the declared one first; another arm is tried along the thresholds
    alone, and where the claim's own measurements were made in it. A lambda that they were not made at is left out.
    """
    declared, *arms = (measured.protocol for measured in by_arm.values())
    answers = Answers(claim, by_arm)
    asked = answers.asked(declared)
    held = {**stored, "arm": [p.arm for p in (declared, *arms) if p is declared or answers.has(p)]}
    if "massive_threshold" in asked:
        held["massive_threshold"] = answers.measured_at(declared, held["massive_threshold"])
    varied = tuple(name for name, values in held.items() if name in asked | {"arm"} and len(values) > 1)
    if not varied:
        return None
    between = answers.measured_at(declared, BETWEEN) if "massive_threshold" in varied else []
    curve = (replace(declared, massive_threshold=value) for value in between)
    own = protocols(declared, [name for name in varied if name != "arm"], held)
    elsewhere = protocols(declared, ["arm", *(name for name in varied if name in CURVES)], held)
    ordered = dict.fromkeys((declared, *own, *curve, *elsewhere))
    return Strip(claim, varied, tuple(judged(claim, protocol, answers.under(protocol)) for protocol in ordered))


class Answers:
    """What a claim's function finds under each protocol, evaluated once; what it raises where it finds nothing."""

    def __init__(self, claim: Claim, by_arm: Mapping[str, Measured]) -> None:
        self.claim = claim
        self.by_arm = by_arm
        self.found: dict[Protocol, Outcome | Exception] = {}

    def under(self, protocol: Protocol) -> Outcome | Exception:
        """What the claim's function finds under a protocol."""
        if protocol not in self.found:
            self.found[protocol] = self._evaluated(protocol)
        return self.found[protocol]

    def has(self, protocol: Protocol) -> bool:
        """Whether a claim's function has what it needs."""
        return not isinstance(self.under(protocol), Exception)

    def measured_at(self, protocol: Protocol, thresholds: Sequence[float]) -> list[float]:
        """The lambdas for which the measurements that the claim needs are stored, whether or not it has an answer."""
        tried = ((value, self.under(replace(protocol, massive_threshold=value))) for value in thresholds)
        return [value for value, found in tried if not isinstance(found, MissingMeasurement)]

    def asked(self, protocol: Protocol) -> set[str]:
        """The settings that a claim's function asks its protocol for; none where it cannot be evaluated at all."""
        traced = Traced(**{name: getattr(protocol, name) for name in Protocol.__dataclass_fields__})
        self.found[protocol] = self._evaluated(traced)
        return set(traced.__dict__.get("_asked", ())) if self.has(protocol) else set()

    def _evaluated(self, protocol: Protocol) -> Outcome | Exception:
        view = self.by_arm[protocol.arm].under(protocol)
        protocol.__dict__.pop("_asked", None)  # what making the view asked for
        try:
            return self.claim.function(view)
        except Exception as reason:  # the record says why; here what cannot be evaluated is left out, or shown as that
            return reason


def protocols(declared: Protocol, varied: Sequence[str], stored: Mapping[str, Sequence[Any]]) -> Iterator[Protocol]:
    """Every combination of the held values of what is varied."""
    for values in product(*(stored[name] for name in varied)):
        yield replace(declared, **dict(zip(varied, values, strict=True)))


def stored_values(measured: Measured) -> dict[str, list[Any]]:
    """The values of each setting that the results hold for all three columns."""
    counts = measured.rope.observations["massive_count"]
    held = {name: set(counts[name].values.tolist()) for name in ("site", "mean_over", "threshold")}
    lengths = measured.rope.observations["length"].values.tolist()
    return {
        "arm": arms(measured.store, measured.protocol),
        "site": [site for site in SITES if site in held["site"]],
        "mean_over": [mean for mean in MEANS if mean in held["mean_over"]],
        "massive_threshold": [value for value in LAMBDAS if value in held["threshold"]],
        "sink_length": lengths,
        "sink_threshold": list(TAUS),
    }


def arms(store: Store, protocol: Protocol) -> list[str]:
    """The arms that every column was measured in, the protocol's own first."""
    found = [
        {
            file.parent.name.rpartition("-")[2]
            for file in (store.root / column).glob(f"{protocol.corpus}-*/observations-?.nc")
        }
        for column in COLUMNS
    ]
    return sorted(set.intersection(*found) | {protocol.arm}, key=lambda arm: (arm != protocol.arm, arm))


def judged(claim: Claim, protocol: Protocol, outcome: Outcome | Exception) -> Setting:
    """What a claim found under one protocol, judged by itself."""
    unanswered = Setting(protocol, "untestable", None)  # a setting without an answer is shown as one
    if isinstance(outcome, Exception):
        return unanswered
    try:
        p: PValues = outcome.p_values(claim.region)
        untested = isinstance(outcome, Conjunction) and bool(outcome.untested)
        return Setting(protocol, decide(p, p.decisive, untested=untested), shown(outcome, claim.region))
    except Exception:
        return unanswered
