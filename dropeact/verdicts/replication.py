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


def _why(id: str, figure: str) -> str:
    return f"the published {figure} of {id}, give or take the tolerance declared with it"
