"""Statements made of several: both models, only one layer, the largest of all.

Every part must hold for support, so its evidence is the largest p (an intersection-union test); any part may fail, so
the evidence against is the smallest p times the number of parts (Bonferroni).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr

from dropeact.axes import HALVES, other_half
from dropeact.estimators.contrasts import ALPHA, Estimate, mean
from dropeact.estimators.outcomes import PValues, Untestable
from dropeact.estimators.regions import Region, at_least, at_most


class Part(NamedTuple):
    """One condition of a compound statement; a region of None means the claim's own."""

    label: str
    estimate: Estimate
    region: Region | None = None


@dataclass(frozen=True)
class Conjunction:
    """Every part holds. What is shown is the weakest part: the one with the largest p for its region.

    `sample` names what a part counts where that is not every text or item; `untested` says of every part that cannot be
    tested why. Then nothing supports the whole, and any other part may still fail.
    """

    parts: tuple[Part, ...]
    sample: str = ""
    untested: tuple[str, ...] = ()

    def part_values(self, region: Region) -> list[PValues]:
        """Each part's evidence under its own region, or the claim's."""
        return [part.estimate.p_values(part.region or region) for part in self.parts]

    def p_values(self, region: Region) -> PValues:
        """Give support = max over parts; contradict = number of parts * min over parts; p = 1 of what is not tested."""
        values = self.part_values(region) + [PValues(1.0, 1.0)] * len(self.untested)
        return PValues(max(p.support for p in values), min(1.0, len(values) * min(p.contradict for p in values)))

    def weakest(self, region: Region) -> Part:
        """The part with the least support; of several without any, the one with the most evidence against it."""
        values = self.part_values(region)
        return self.parts[max(range(len(values)), key=lambda i: (min(values[i].support, 0.5), -values[i].contradict))]


def both(estimates: Mapping[str, Estimate], *, sample: str = "") -> Conjunction:
    """The claim's region holds of each named estimate (two models, say)."""
    return Conjunction(tuple(Part(label, estimate) for label, estimate in estimates.items()), sample)


def where_tested(
    parts: Mapping[str, Callable[[], Estimate]], regions: Mapping[str, Region] | None = None
) -> Conjunction:
    """Each named part lies in its own region, or the claim's; those that raise `Untestable` are not tested.

    Raises
    ------
    Untestable
        When none of them can be tested.
    """
    tested, reasons = [], []
    for label, estimate in parts.items():
        try:
            tested.append(Part(label, estimate(), (regions or {}).get(label)))
        except Untestable as reason:
            reasons.append(str(reason))
    if not tested:
        raise Untestable("; ".join(reasons))
    return Conjunction(tuple(tested), untested=tuple(reasons))


def only(excess: Mapping[int, Estimate], claimed: Sequence[int], *, bound: float) -> Conjunction:
    """The quantity exceeds `bound` at the claimed layers and at no other.

    support = max p over all layers; contradict = (number of layers) * min p.

    Raises
    ------
    ValueError
        If a claimed layer was not measured: nothing would be claimed of it.
    """
    if missing := sorted(set(claimed) - set(excess)):
        raise ValueError(f"expected the claimed layers among {sorted(excess)}; got {missing}; measure these layers")
    above = at_least(bound, "above the bound at the claimed layer", scale="ratio")
    below = at_most(bound, "not above the bound at any other layer", scale="ratio")
    parts = (Part(f"layer {layer}", e, above if layer in claimed else below) for layer, e in excess.items())
    return Conjunction(tuple(parts))


@dataclass(frozen=True)
class Argmax:
    """The largest of several means lies at a claimed position; winner and challenger were chosen on the other half.

    `rivals` holds, per position outside the claim, the per-text lead of the winner over it; `challenge` holds, per
    claimed position, the per-text lead of the challenger (the best outside) over it. support = the largest p that the
    winner leads; contradict = the largest p that the challenger leads every claimed position. A lead is above 0.

    Where a leader was chosen among several, each half's choice depends on the other half's texts, and one test of both
    together is wrong too often (3.9 % at 2.5 %, all positions tied). Then each half is a test of its own, and the
    evidence of a lead is twice the smaller p; `..._by_half` hold these tests and are empty where nothing was chosen.
    """

    rivals: Mapping[int, Estimate]
    challenge: Mapping[int, Estimate]
    found: str
    rivals_by_half: Mapping[int, Sequence[Estimate]] = field(default_factory=dict)
    challenge_by_half: Mapping[int, Sequence[Estimate]] = field(default_factory=dict)

    def p_values(self, region: Region) -> PValues:
        """Evidence that the largest lies inside the claim and outside it, whatever `region` a claim declares."""
        support = max(_leads(self.rivals[p], self.rivals_by_half.get(p, ())) for p in self.rivals)
        return PValues(
            support, max(_leads(self.challenge[p], self.challenge_by_half.get(p, ())) for p in self.challenge)
        )

    @cached_property
    def closest(self) -> Estimate:
        """The winner's lead over the rival that comes closest; of several that are ahead of it, the farthest."""
        return max(self.rivals.values(), key=lambda lead: (lead.tails(0.0)[0], -lead.value))

    def undecided(self) -> "Undecided":
        """The lead that keeps the statement from being decided, on the side on which it lies."""
        if self.closest.value > 0:
            return Undecided(self.closest, 1, 2 if self.rivals_by_half else 1)
        weakest = max(self.challenge.values(), key=lambda lead: lead.tails(0.0)[0])
        return Undecided(weakest, 1, 2 if self.challenge_by_half else 1)


class Undecided(NamedTuple):
    """A lead, how many statements its evidence is shared with, and in how many halves it is tested."""

    lead: Estimate
    tests: int
    halves: int


@dataclass(frozen=True)
class EveryArgmax(Argmax):
    """Several statements about a largest mean, all of which must hold; `rivals` and `challenge` are those of all."""

    members: tuple[Argmax, ...] = ()

    def p_values(self, region: Region) -> PValues:
        """Give support = max over the members; contradict = number of members * min over them."""
        values = [member.p_values(region) for member in self.members]
        return PValues(max(p.support for p in values), min(1.0, len(values) * min(p.contradict for p in values)))

    def undecided(self) -> "Undecided":
        """The lead of the member that is hardest to support or, where one is contradicted, easiest to contradict."""
        each = [member.undecided() for member in self.members]
        if self.closest.value > 0:
            return max(each, key=lambda found: found.lead.tails(0.0)[0])
        against = [found for found, member in zip(each, self.members, strict=True) if member.closest.value <= 0]
        return min(against, key=lambda found: found.lead.tails(0.0)[0])._replace(tests=len(self.members))


def every(members: Mapping[str, Argmax]) -> EveryArgmax:
    """Each named argmax lies where it is claimed (one a model, say)."""
    leads = [lead for member in members.values() for lead in member.rivals.values()]
    challenges = [lead for member in members.values() for lead in member.challenge.values()]
    found = "; ".join(f"{name} {member.found}" for name, member in members.items())
    return EveryArgmax(dict(enumerate(leads)), dict(enumerate(challenges)), found, members=tuple(members.values()))


def argmax(values: xr.DataArray, claimed: Mapping[str, Sequence[int]], *, dim: str = "layer", unit: str) -> Argmax:
    """Test that `values` (text, dim) is largest at one of the positions claimed for each half.

    `claimed[half]` are the positions claimed of that half's texts. Per half, the winner (best inside the claim) and
    the challenger (best outside) come from the other half's mean.

    Raises
    ------
    Untestable
        If the claim covers every position, a half has no texts, or a value is NaN.
    """
    if not np.isfinite(values.values).all():
        raise Untestable("not a finite number in some text")
    if set(values["half"].values.tolist()) != set(HALVES):
        raise Untestable("one half of the texts is missing: nothing to select on")
    found = _argmax_of(values.mean("text"), dim)
    leads, challenges = {}, {}
    chose_inside = chose_outside = False
    for half in HALVES:
        texts = values.isel(text=values["half"].values == half)
        chosen_on = values.isel(text=values["half"].values == other_half(half)).mean("text")
        inside = [p for p in chosen_on[dim].values.tolist() if p in claimed[half]]
        outside = [p for p in chosen_on[dim].values.tolist() if p not in claimed[half]]
        if not inside or not outside:
            raise Untestable("the claimed positions leave nothing to compare with")
        chose_inside, chose_outside = chose_inside or len(inside) > 1, chose_outside or len(outside) > 1
        winner, challenger = (_argmax_of(chosen_on.sel({dim: group}), dim) for group in (inside, outside))
        for rival in outside:
            leads.setdefault(rival, []).append(texts.sel({dim: winner}) - texts.sel({dim: rival}))
        for place, own in enumerate(inside):
            challenges.setdefault(place, []).append(texts.sel({dim: challenger}) - texts.sel({dim: own}))
    return Argmax(
        _joined(leads, unit),
        _joined(challenges, unit),
        f"largest at {dim} {found}",
        _each(leads, unit) if chose_inside else {},
        _each(challenges, unit) if chose_outside else {},
    )


def _leads(together: Estimate, halves: Sequence[Estimate]) -> float:
    """Evidence of a positive lead: of all texts, or twice the smaller p of the halves where the leader was chosen.

    There is none where the halves disagree: no lead over all texts, or one half that shows the opposite.
    """
    if not halves:
        return together.tails(0.0)[0]
    p = min(1.0, len(halves) * min(half.tails(0.0)[0] for half in halves))
    disagree = together.value <= 0 or any(half.tails(0.0)[1] <= ALPHA for half in halves)
    return max(p, 0.5) if disagree else p


def _each(per_half: Mapping[int, list[xr.DataArray]], unit: str) -> dict[int, list[Estimate]]:
    return {key: [mean(part, scale="difference", unit=unit) for part in parts] for key, parts in per_half.items()}


def _joined(per_half: Mapping[int, list[xr.DataArray]], unit: str) -> dict[int, Estimate]:
    return {
        key: mean(xr.concat(parts, "text", coords="minimal", compat="override"), scale="difference", unit=unit)
        for key, parts in per_half.items()
    }


def _argmax_of(means: xr.DataArray, dim: str) -> int:
    return int(means[dim].values[int(np.argmax(means.values))])
