"""A number of tokens -> what uniform causal attention scores over them, the reference of every reading; no torch.

Query t gives each of its t + 1 keys the weight 1 / (t + 1).
"""

from math import lgamma
from typing import TypeVar

import numpy as np

WINDOW = 5  # keys before the query that count as local

Scores = TypeVar("Scores")


def harmonic(count: int) -> float:
    """The harmonic number H_n = sum_{i = 1..n} 1 / i."""
    return float(sum(1 / i for i in range(1, count + 1)))


def sink_score(tokens: int, *, with_first_query: bool) -> float:
    """Mean attention to the first key: H_T / T with the first query, (H_T - 1) / (T - 1) without."""
    return harmonic(tokens) / tokens if with_first_query else (harmonic(tokens) - 1) / (tokens - 1)


def excess(scores: Scores, tokens: int, *, with_first_query: bool) -> Scores:
    """Sink scores on a scale whose 0 is uniform attention and whose 1 is all attention on the first key.

    (score - u) / (1 - u), u the sink score of uniform attention
    """
    reference = sink_score(tokens, with_first_query=with_first_query)
    return (scores - reference) / (1 - reference)  # pyright: ignore[reportOperatorIssue] - a number or an array


def local_mass(tokens: int) -> float:
    """Mean attention to the five keys before the query, the first key left out.

    mean_{t = 1..T-1} (min(t, 6) - 1) / (t + 1)
    """
    queries = np.arange(1, tokens)
    return float(((np.minimum(queries, WINDOW + 1) - 1) / (queries + 1)).mean())


def distance_mass(tokens: int, distance: int) -> float:
    """Mean attention to the key so many tokens before the query, the first key left out.

    mean_{t = distance + 1 .. T-1} 1 / (t + 1)
    """
    return (harmonic(tokens) - harmonic(distance + 1)) / (tokens - 1 - distance)


def attention_entropy(tokens: int) -> float:
    """Mean entropy of the queries t >= 1 in nats: ln(T!) / (T - 1)."""
    return lgamma(tokens + 1) / (tokens - 1)
