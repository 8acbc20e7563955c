"""Published figure + tolerance -> the region inside which a magnitude record replicates it.

Percent changes and perplexities become ratios or nats first, and the tolerance applies to those.
"""

from math import log

from dropeact import published
from dropeact.axes import InputError
from dropeact.estimators import Region
from dropeact.estimators.regions import Scale, within


def replicates(id: str, figure: str, *, scale: Scale, at: int | None = None) -> Region:
    """The published figure of claim `id`, give or take its tolerance; a `change` on the ratio scale is 1 + change.

    `at` is the place in a figure of several numbers.
    """
    value = _figure(id, figure, at)
    center = 1 + value if figure == "change" and scale == "ratio" else value
    return _around(id, center, figure if at is None else f"{figure} ({at})", scale)


def replicates_mean(id: str, figure: str) -> Region:
    """The mean of a published figure of several numbers, give or take the tolerance."""
    numbers = published.claims()[id].figures.get(figure)
    if not isinstance(numbers, tuple):
        raise InputError(f"expected several numbers; got {figure} of {id}; judge it as one")
    return _around(id, sum(numbers) / len(numbers), f"mean {figure}", "difference")


def replicates_difference(id: str) -> Region:
    """The published DroPE figure minus the RoPE one, give or take the claim's tolerance."""
    return _around(id, _figure(id, "drope") - _figure(id, "rope"), "difference", "difference")


def replicates_change(id: str, figure: str) -> Region:
    """A published pair of numbers (RoPE, DroPE) as the second minus the first, give or take the tolerance."""
    return _around(id, _figure(id, figure, 1) - _figure(id, figure, 0), f"difference in {figure}", "difference")


def replicates_ratio(id: str) -> Region:
    """The published DroPE figure over the RoPE one, give or take the claim's tolerance."""
    return _around(id, _figure(id, "drope") / _figure(id, "rope"), "ratio", "ratio")


def replicates_percent(id: str, figure: str) -> Region:
    """A published change of perplexity in percent as ln(1 + percent / 100) in nats, with the claim's tolerance."""
    return _around(id, log(1 + _figure(id, figure) / 100), figure, "difference")


def replicates_nats(id: str, before: str, after: str) -> Region:
    """A published pair of perplexities as a loss difference ln(after / before) in nats, with the claim's tolerance."""
    return _around(id, log(_figure(id, after) / _figure(id, before)), f"{before} to {after}", "difference")


def replicates_factor(id: str, figure: str) -> Region:
    """A published factor of perplexity as a loss increase ln(factor) in nats, with the claim's tolerance."""
    return _around(id, log(_figure(id, figure)), figure, "difference")


def replicates_factors(id: str, over: str, under: str) -> Region:
    """The ratio ln(over) / ln(under) of two published factors of perplexity, with the claim's tolerance."""
    ratio = log(_figure(id, over)) / log(_figure(id, under))
    return _around(id, ratio, f"{over} over {under}, in nats", "ratio")


def _figure(id: str, name: str, at: int | None = None) -> float:
    """One published number."""
    value = published.claims()[id].figures.get(name)
    if value is None or isinstance(value, tuple) != (at is not None):
        raise InputError(f"expected one figure; got {name} = {value} of {id}; name its place where there are several")
    return float(value if at is None else value[at])  # pyright: ignore[reportIndexIssue, reportArgumentType] - a tuple exactly where a place is named


def _around(id: str, center: float, figure: str, scale: Scale) -> Region:
    """The tolerance that was declared with a claim, around a number made of its figures."""
    tolerance = published.claims()[id].tolerance
    if tolerance is None:
        raise InputError(f"expected figures with a tolerance; got those of {id}; judge it in direction only")
    half = tolerance.half_width(center)
    why = f"the published {figure} of {id}, give or take the tolerance declared with it"
    return within(center - half, center + half, why, scale=scale)
