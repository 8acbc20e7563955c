"""A published figure beside ours: same sign, inside our prediction interval, how large ours is against it.

Judges nothing: a verdict comes from the region alone. The interval answers what a study with the published sample and
spread should have found, had the effect been the one that we measured.
"""

from collections.abc import Mapping
from math import inf, nan, sqrt
from typing import NamedTuple

from dropeact.estimators.contrasts import ALPHA, Estimate, spread
from dropeact.estimators.regions import Scale
from dropeact.estimators.student import critical

Figure = int | float | tuple[int | float, ...]


class PublishedEffect(NamedTuple):
    """A published effect with what its spread says: each variance is one of the two models', with n - 1 degrees."""

    value: float
    variances: tuple[float, float]
    degrees: int
    scale: Scale


class Replication(NamedTuple):
    """How our estimate and a published effect compare; effects count from the value that means no difference."""

    published: float
    same_sign: bool
    inside: bool
    low: float
    high: float
    effect_ratio: float


def published_effect(figures: Mapping[str, Figure], n: int | None, *, scale: Scale) -> PublishedEffect | None:
    """The effect of printed means and standard deviations over n texts; None where a spread or n was not printed.

    difference: d = drope - rope, variances s_drope^2 / n and s_rope^2 / n.
    ratio: r = drope / rope, variances s_drope^2 / (n rope^2) and r^2 s_rope^2 / (n rope^2) (delta method).
    The study printed no pairing, so the two models count as independent samples.
    """
    names = ("rope", "rope_sd", "drope", "drope_sd")
    printed = [figures[name] for name in names if name in figures]
    if len(printed) < len(names) or n is None or n < 2 or scale == "rate":
        return None
    rope, rope_sd, drope, drope_sd = (float(value) for value in printed if not isinstance(value, tuple))
    if scale == "difference":
        return PublishedEffect(drope - rope, (drope_sd**2 / n, rope_sd**2 / n), n - 1, scale)
    value = drope / rope
    return PublishedEffect(value, (drope_sd**2 / (n * rope**2), (value * rope_sd / rope) ** 2 / n), n - 1, scale)


def replication(estimate: Estimate, effect: PublishedEffect, *, level: float = 1 - 2 * ALPHA) -> Replication:
    """Compare an estimate with a published effect of the same scale.

    interval = theta -+ t * sqrt(v + v_1 + v_2), v = s^2(a - theta b) / (n mean(b)^2) of ours, v_1 and v_2 published;
    t has (v + v_1 + v_2)^2 / sum(v_i^2 / f_i) degrees of freedom. effect ratio = (theta - null) / (published - null),
    null = 1 of a ratio and 0 of a difference; NaN where the published effect does not stand clear of its own spread.

    Raises
    ------
    ValueError
        If the scales differ.

    References
    ----------
    Spence & Stanley (2016), Prediction interval: what to expect when you're expecting ... a replication, PLoS ONE 11,
    doi:10.1371/journal.pone.0162874.
    Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics Bull. 2.
    """
    if estimate.scale != effect.scale:
        raise ValueError(f"expected a published {estimate.scale}; got a {effect.scale}; compare like with like")
    null = 1.0 if effect.scale == "ratio" else 0.0
    ours, theirs = estimate.value - null, effect.value - null
    variances = (_variance(estimate), *effect.variances)
    is_clear = abs(theirs) > _half_width(effect.variances, (effect.degrees, effect.degrees), level)
    degrees = (estimate.texts - 1, effect.degrees, effect.degrees)
    half = _half_width(variances, degrees, level)
    return Replication(
        published=effect.value,
        same_sign=ours * theirs > 0,
        inside=abs(ours - theirs) <= half,
        low=estimate.value - half,
        high=estimate.value + half,
        effect_ratio=ours / theirs if is_clear else nan,
    )


def _variance(estimate: Estimate) -> float:
    residual = spread(estimate.contrast(estimate.value))
    return residual**2 / (estimate.texts * float(estimate.denominator.mean()) ** 2)


def _half_width(variances: tuple[float, ...], degrees: tuple[int, ...], level: float) -> float:
    total = sum(variances)
    if total == 0:
        return 0.0
    shares = sum(v**2 / f for v, f in zip(variances, degrees, strict=True) if v > 0)
    freedom = total**2 / shares if shares else inf
    return critical((1 - level) / 2, freedom) * sqrt(total)
