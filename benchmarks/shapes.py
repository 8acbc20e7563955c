"""Estimator shape x distribution x n -> p-values of 10,000 simulated samples at once, with the truth on the bound.

Arrays are [run, text] or [run, text, position]. Each scenario also builds the same sample as the classes of
`dropeact.estimators` see it, so that a test can hold the array code against them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from dropeact.estimators import PValues, argmax, both, difference, mean, only, ratio
from dropeact.estimators.contrasts import ALPHA
from dropeact.estimators.regions import at_least, at_most, within

Draw = Callable[[tuple[int, ...]], np.ndarray]
Sample = dict[str, np.ndarray]

ASSERTED = ("normal", "t3", "symmetric contamination")
SPREADLESS = 1e-12
MARGIN = 0.5
POSITIONS = 6


def distributions(rng: np.random.Generator) -> dict[str, Draw]:
    """Noise of mean 0 by name; the first three are asserted, the others reported."""

    def mixture(size: tuple[int, ...]) -> np.ndarray:
        return rng.normal(size=size) * np.where(rng.random(size) < 0.1, 5.0, 1.0)

    return {
        "normal": lambda size: rng.normal(size=size),
        "t3": lambda size: rng.standard_t(3, size) / np.sqrt(3),
        "symmetric contamination": mixture,
        "one-sided contamination": lambda size: rng.normal(size=size) + 5.0 * (rng.random(size) < 0.1) - 0.5,
        "lognormal": lambda size: rng.lognormal(0, 1, size) - np.exp(0.5),
        "rare counts": lambda size: rng.poisson(0.1, size) - 0.1,
    }


def tails(contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p for a positive and for a negative mean over the last axis; no spread is compared directly."""
    n = contrast.shape[-1]
    center, spread = contrast.mean(-1), contrast.std(-1, ddof=1)
    flat = spread <= SPREADLESS
    t = center / np.where(flat, 1.0, spread / np.sqrt(n))
    above = np.where(flat, center <= SPREADLESS, special.stdtr(n - 1, -t))
    return above, np.where(flat, center >= -SPREADLESS, special.stdtr(n - 1, t))


def ratio_tails(drope: np.ndarray, rope: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Tails of drope - bound * rope, no smaller than the p of a positive denominator where one is negative."""
    sign = np.where(rope.min(-1) < 0, tails(rope)[0], 0.0)
    above, below = tails(drope - bound * rope)
    return np.maximum(above, sign), np.maximum(below, sign)


class Scenario(NamedTuple):
    """A sample whose truth lies on the bound, judged by array code and by the classes; `wrong` verdicts are counted."""

    shape: str
    wrong: tuple[str, ...]
    make: Callable[[Draw, int, int], Sample]
    fast: Callable[[Sample], tuple[np.ndarray, np.ndarray]]
    slow: Callable[[Sample, int], PValues]


def texts(values: np.ndarray) -> xr.DataArray:
    """One run's sample as labelled texts of alternating halves."""
    n = len(values)
    dims = ("text", "layer")[: values.ndim]
    coords = {"text": range(n), "half": ("text", ["AB"[i % 2] for i in range(n)])}
    return xr.DataArray(values, dims=dims, coords=coords)


def two_models(draw: Draw, runs: int, n: int) -> Sample:
    """Paired models with a common text effect, DroPE 0.02 above RoPE."""
    text = draw((runs, n))
    return {"rope": text + draw((runs, n)), "drope": text + draw((runs, n)) + 0.02}


def ratio_on_bound(draw: Draw, runs: int, n: int) -> Sample:
    """DroPE at 0.95 of RoPE."""
    rope = 10 + 2 * draw((runs, n))
    return {"rope": rope, "drope": 0.95 * rope + draw((runs, n))}


def fewer_by_ratio(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Ratio below 0.95."""
    above, below = ratio_tails(sample["drope"], sample["rope"], 0.95)
    return below, above


def parts(centers: tuple[float, ...]) -> Callable[[Draw, int, int], Sample]:
    """Several quantities of one text with correlated noise, at these centers."""
    return lambda draw, runs, n: {"x": draw((runs, n, 1)) + draw((runs, n, len(centers))) + np.array(centers)}


def layers(ratios: tuple[float, ...]) -> Callable[[Draw, int, int], Sample]:
    """Two models with one count per layer, DroPE's at these multiples of RoPE's."""

    def make(draw: Draw, runs: int, n: int) -> Sample:
        rope = 10 + draw((runs, n, len(ratios)))
        return {"rope": rope, "drope": rope * np.array(ratios) + draw((runs, n, len(ratios)))}

    return make


def margin(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Two one-sided tests; against: twice the smaller p outside."""
    above, not_above = tails(sample["x"] + MARGIN)
    not_below, below = tails(sample["x"] - MARGIN)
    return np.maximum(above, below), np.minimum(1.0, 2 * np.minimum(not_above, not_below))


def every_part(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Largest p for, number of parts times the smallest p against."""
    above, below = tails(np.swapaxes(sample["x"], 1, 2))
    return above.max(-1), np.minimum(1.0, below.shape[-1] * below.min(-1))


def only_layer_1(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Ratio above 1 at layer 1, not above it elsewhere."""
    above, below = ratio_tails(np.swapaxes(sample["drope"], 1, 2), np.swapaxes(sample["rope"], 1, 2), 1.0)
    claimed = np.arange(above.shape[-1]) == 1
    support, against = np.where(claimed, above, below), np.where(claimed, below, above)
    return support.max(-1), np.minimum(1.0, above.shape[-1] * against.min(-1))


def largest_at(claimed: tuple[int, ...]) -> Callable[[Sample], tuple[np.ndarray, np.ndarray]]:
    """The largest lies at a claimed position; winner and challenger come from the other half."""

    def fast(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        x = sample["x"]
        outside = [p for p in range(x.shape[-1]) if p not in claimed]
        leads, challenges = [], []
        for half in (0, 1):
            chosen, judged = x[:, 1 - half :: 2].mean(1), x[:, half::2]
            best = (np.array(group)[chosen[:, group].argmax(-1)] for group in (list(claimed), outside))
            winner, challenger = (np.take_along_axis(judged, b[:, None, None], 2) for b in best)
            leads.append(winner - judged[:, :, outside])
            challenges.append(challenger - judged[:, :, list(claimed)])
        return _lead(leads, chosen=len(claimed) > 1), _lead(challenges, chosen=len(outside) > 1)

    return fast


def _lead(halves: list[np.ndarray], *, chosen: bool) -> np.ndarray:
    """Largest p of a lead: of all texts together, or twice the smaller of the halves where the leader was chosen.

    At least 0.5 where these disagree: no lead over all texts, or one half that shows the opposite.
    """
    together = np.concatenate(halves, 1)
    if not chosen:
        return tails(np.swapaxes(together, 1, 2))[0].max(-1)
    ahead, behind = np.array([tails(np.swapaxes(half, 1, 2)) for half in halves]).swapaxes(0, 1)
    p = np.minimum(1.0, 2 * ahead.min(0))
    disagree = (together.mean(1) <= 0) | (behind <= ALPHA).any(0)
    return np.where(disagree, np.maximum(p, 0.5), p).max(-1)


def _slow_only(sample: Sample, run: int) -> PValues:
    drope, rope = texts(sample["drope"][run]), texts(sample["rope"][run])
    excess = {l: ratio(drope.isel(layer=l), rope.isel(layer=l)) for l in range(drope.sizes["layer"])}
    return only(excess, [1], bound=1.0).p_values(at_least(0, "r"))


def _slow_both(sample: Sample, run: int) -> PValues:
    x = texts(sample["x"][run])
    named = {str(i): mean(x.isel(layer=i), unit="x") for i in range(x.sizes["layer"])}
    return both(named).p_values(at_least(0, "r"))


def _slow_argmax(claimed: tuple[int, ...]) -> Callable[[Sample, int], PValues]:
    def slow(sample: Sample, run: int) -> PValues:
        x = texts(sample["x"][run]).assign_coords(layer=range(sample["x"].shape[-1]))
        return argmax(x, {"A": claimed, "B": claimed}, unit="x").p_values(at_least(0, "r"))

    return slow


def scenarios() -> list[Scenario]:
    """Every shape with its truth on the bound; where two bounds matter, the worst case of each verdict."""
    either = ("support", "contradict")
    far, tie, half = (0.5,) * POSITIONS, (-9.0, 0.0, 0.0, -9.0), at_least(0.0, "r")
    fewer, more = at_most(0.95, "r", scale="ratio"), at_least(0.02, "r")
    one, two, three = largest_at((1,)), largest_at((1, 2)), largest_at((0, 1, 2))
    return [
        Scenario("mean", either, lambda d, r, n: {"x": d((r, n))}, lambda s: tails(s["x"]),
                 lambda s, i: mean(texts(s["x"][i]), unit="x").p_values(half)),
        Scenario("difference", either, two_models, lambda s: tails(s["drope"] - s["rope"] - 0.02),
                 lambda s, i: difference(texts(s["drope"][i]), texts(s["rope"][i]), unit="x").p_values(more)),
        Scenario("ratio", either, ratio_on_bound, fewer_by_ratio,
                 lambda s, i: ratio(texts(s["drope"][i]), texts(s["rope"][i])).p_values(fewer)),
        Scenario("margin", either, lambda d, r, n: {"x": MARGIN + d((r, n))}, margin,
                 lambda s, i: mean(texts(s["x"][i]), unit="x").p_values(within(-MARGIN, MARGIN, "r"))),
        Scenario("both: one on the bound", ("support",), parts((0.0, 9.0)), every_part, _slow_both),
        Scenario("both: two on the bound", ("contradict",), parts((0.0, 0.0)), every_part, _slow_both),
        Scenario("only: the layer on the bound", ("support",), layers((0.5, 1.0, *far[2:])), only_layer_1, _slow_only),
        Scenario("only: a rival on the bound", ("support",), layers((1.0, 2.0, *far[2:])), only_layer_1, _slow_only),
        Scenario("only: all on the bound", ("contradict",), layers((1.0,) * POSITIONS), only_layer_1, _slow_only),
        Scenario("argmax: a tie of two", either, parts(tie), one, _slow_argmax((1,))),
        Scenario("argmax: all tied", either, parts((0.0,) * 4), one, _slow_argmax((1,))),
        Scenario("argmax: two claimed, all tied", either, parts((0.0,) * 4), two, _slow_argmax((1, 2))),
        Scenario("argmax: all but one claimed, all tied", either, parts((0.0,) * 4), three, _slow_argmax((0, 1, 2))),
    ]  # fmt: skip
