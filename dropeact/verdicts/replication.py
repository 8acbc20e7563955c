"""Published figure + tolerance -> the region inside which a magnitude record replicates it.

Percent changes and perplexities become ratios or nats first, and the tolerance applies to those.
"""

from math import log

from dropeact import published
from dropeact.axes import InputError
from dropeact.estimators import Region
from dropeact.estimators.regions import Scale, within


def replicates(id: str, figure: str, *, scale: Scale) -> Region:
    """The published figure of claim `id`, give or take its tolerance; a `change` on the ratio scale is 1 + change."""
    entry = published.claims()[id]
    value = entry.figures[figure]
    if isinstance(value, tuple) or entry.tolerance is None:
        raise InputError(f"expected one figure with a tolerance; got {figure} of {id}; judge it in direction only")
    center = 1 + value if figure == "change" and scale == "ratio" else float(value)
    half = entry.tolerance.half_width(center)
    return within(center - half, center + half, _why(id, figure), scale=scale)


def replicates_difference(id: str) -> Region:
    """The published DroPE figure minus the RoPE one, give or take the claim's tolerance."""
    entry = published.claims()[id]
    rope, drope = entry.figures["rope"], entry.figures["drope"]
    if isinstance(rope, tuple) or isinstance(drope, tuple) or entry.tolerance is None:
        raise InputError(
            f"expected figures rope and drope with a tolerance; got those of {id}; judge its direction only"
        )
    half = entry.tolerance.half_width(drope - rope)
    return within(drope - rope - half, drope - rope + half, _why(id, "difference"))


def replicates_nats(id: str, before: str, after: str) -> Region:
    """A published pair of perplexities as a loss difference ln(after / before) in nats, with the claim's tolerance."""
    entry = published.claims()[id]
    first, second = entry.figures[before], entry.figures[after]
    if isinstance(first, tuple) or isinstance(second, tuple) or entry.tolerance is None:
        raise InputError(f"expected two perplexities with a tolerance; got {before}, {after} of {id}")
    nats = log(second / first)
    half = entry.tolerance.half_width(nats)
    return within(nats - half, nats + half, _why(id, f"{before} to {after}"))


def replicates_factor(id: str, figure: str) -> Region:
    """A published factor of perplexity as a loss increase ln(factor) in nats, with the claim's tolerance."""
    value, tolerance = _factor(id, figure)
    half = tolerance.half_width(log(value))
    return within(log(value) - half, log(value) + half, _why(id, figure))


def replicates_factors(id: str, over: str, under: str) -> Region:
    """The ratio ln(over) / ln(under) of two published factors of perplexity, with the claim's tolerance."""
    (first, tolerance), (second, _) = _factor(id, over), _factor(id, under)
    ratio = log(first) / log(second)
    half = tolerance.half_width(ratio)
    return within(ratio - half, ratio + half, _why(id, f"{over} over {under}, in nats"), scale="ratio")


def _factor(id: str, figure: str) -> tuple[float, published.Tolerance]:
    entry = published.claims()[id]
    value = entry.figures[figure]
    if isinstance(value, tuple) or entry.tolerance is None:
        raise InputError(f"expected a factor with a tolerance; got {figure} of {id}; judge its direction only")
    return float(value), entry.tolerance


def _why(id: str, figure: str) -> str:
    return f"the published {figure} of {id}, give or take the tolerance declared with it"
