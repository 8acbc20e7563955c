"""Tails and critical values of Student's t and of the normal distribution.

They are those of `scipy.stats`, number by number, from the special functions beneath it: importing the distributions
takes longer than reading a folder of results.
"""

from scipy import special


def tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's t with `freedom` degrees of freedom; P(T < t) is tail(-t)."""
    return float(special.stdtr(freedom, -t))


def critical(alpha: float, freedom: float) -> float:
    """The t that T exceeds with probability `alpha`; of the normal distribution where `freedom` is infinite."""
    return -float(special.stdtrit(freedom, alpha))


def normal_critical(alpha: float) -> float:
    """The z that a standard normal variable exceeds with probability `alpha`."""
    return -float(special.ndtri(alpha))
