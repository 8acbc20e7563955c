"""The vocabulary: the name of every dimension, what it counts, and what grouped-query attention changes.

============ =================================================================================================
dimension    one index is
============ =================================================================================================
text         a passage (the unit of every statistical test); coordinates: its id and its half
half         `A` or `B`: masks, write layers and winners are selected on one half and judged on the other
selected_on  the half whose texts a pooled quantity was taken over
layer        a decoder block, counted from 0
depth        a point of the residual stream, 0..L: 0 = embeddings, l + 1 = after block l (before the final norm)
head         a query head. Grouped-query attention gives several query heads one key/value head
kv_head      a key/value head: fewer than `head` under grouped-query (or one under multi-query) attention
dim          a channel of one head (0..head_dim - 1); under rotation channel i turns with its partner
tensor       query, key or value
site         `attended`: exactly what enters QK^T (after QK-norm and rotation); `projected`: what the projection gives
mean_over    `layer` or `head`: which mean a norm is compared with to be called massive
threshold    lambda, the multiple of that mean
length       how many first tokens of a text an attention statistic uses
convention   whether query 0 (which can only attend to itself) takes part in the mean
rebuilding   attention `as used`, or `without rotation`: rebuilt from the projections, as the study did
padding      representations of the text alone (`unpadded`), or with the rows of the padding after it
condition    what was changed in the forward pass (baseline, massive, random-0, ...)
comparison   how the noise floor was taken: `repeat`, one or two `threads`, `batch` or one by one, matrix `products` by
             oneDNN or not, `precision` bfloat16
stage        a point of a recalibration: the RoPE parent, just dropped, or a snapshot at a token count
position_bin the first position of a run of 128 target tokens
task         what an item asks of a model: cities, sports, reviews; `asked`: whether yes is the right answer
form         how a hidden number is asked for: `plain` (needle and question) or `cued` (the quiz is announced)
candidate    the exact number, or a near miss of it
needle_depth where in the text the number stands, 0..1; `value` is the number
rank         the place of a massive activation in its text, largest first
distance     how many tokens a key lies before its query
token_class  which tokens: the `first` one, `massive` ones (a massive activation), `ordinary` ones
pair         two channels of a head that rotation turns together; pair 0 turns fastest
head_class   what a head mostly does: `sink`, `local`, `distributed` or `mixed`
metric       a score of lm-evaluation-harness; for RULER the context length
column       `rope`, `dropped` (the same weights without rotation) or `drope` (dropped and recalibrated)
============ =================================================================================================
"""

from typing import Literal

Column = Literal["rope", "dropped", "drope"]
COLUMNS: tuple[Column, ...] = ("rope", "dropped", "drope")
TENSORS = ("query", "key", "value")
SITES = ("attended", "projected")
HALVES = ("A", "B")
THRESHOLDS = tuple(3 + 0.5 * i for i in range(15))
MASSIVE_THRESHOLD = 5.0
LAMBDAS = (3.0, 4.0, MASSIVE_THRESHOLD, 7.0, 10.0)  # the thresholds beside the declared one that verdicts are shown at
SINK_THRESHOLD = 0.3
SINK_LENGTH = 64
POSITION_BIN = 128
REBUILDINGS = ("as used", "without rotation")


class InputError(Exception):
    """Unusable input: one line that says what was expected, what came, and the remedy; exit status 2."""


def other_half(half: str) -> str:
    """Name the half that judges what `half` selected, and the reverse."""
    return {"A": "B", "B": "A"}[half]


class NotApplicable(Exception):
    """The pair lacks a named precondition of the claim (a literal layer, a length beyond training)."""


class Untestable(Exception):
    """The measurement cannot carry the claim: NaN, a failed manipulation check, a baseline at chance."""
