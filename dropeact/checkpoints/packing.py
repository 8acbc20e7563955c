"""Documents -> windows of tokens: joined by the separator, cut at a fixed length, held-out windows set apart.

Document boundaries are not masked (as in the DroPE recipe), and no token is added but the separator.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from dropeact.axes import InputError

TOKENISED_AT_ONCE = 256
HELDOUT_EVERY = 50


class Windows(NamedTuple):
    """Training and held-out windows, [window, position] int32; no document lies in both."""

    training: np.ndarray
    heldout: np.ndarray


def packed(
    documents: Iterable[str], tokenizer, *, separator_id: int, length: int, heldout: int, limit: int | None = None
) -> Windows:
    """Tokenise documents and cut them into windows; every 50th document is held out until `heldout` windows are full.

    `limit` stops after that many training tokens.
    """
    training, held = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    training_tokens = held_tokens = 0
    for index, ids in enumerate(_tokenised(documents, tokenizer, separator_id)):
        if index % HELDOUT_EVERY == 0 and held_tokens < heldout * length:
            held.append(ids)
            held_tokens += len(ids)
        else:
            training.append(ids)
            training_tokens += len(ids)
        if limit and training_tokens >= limit + length:
            break
    return Windows(_cut(training, length), _cut(held, length)[:heldout])


def _tokenised(documents: Iterable[str], tokenizer, separator_id: int) -> Iterator[np.ndarray]:
    """Yield each document's ids, followed by the separator."""
    remaining = iter(documents)
    while texts := list(islice(remaining, TOKENISED_AT_ONCE)):
        for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
            yield np.asarray([*ids, separator_id], np.int32)


def _cut(documents: list[np.ndarray], length: int) -> np.ndarray:
    """Join documents and cut the stream into windows; what is left over is dropped."""
    stream = np.concatenate(documents)
    count = len(stream) // length
    return stream[: count * length].reshape(count, length)


def separator_of(tokenizer, separator: str | None) -> int:
    """Return the id of the token between documents: the one named, or the tokenizer's `<|endoftext|>` or eos.

    Raises
    ------
    InputError
        When the tokenizer has no such token.
    """
    for token in (separator,) if separator else ("<|endoftext|>", tokenizer.eos_token):
        index = tokenizer.get_vocab().get(token)
        if index is not None:
            return index
    raise InputError(
        f"expected a separator token; the tokenizer has no {separator or 'eos token'}; name one that it has"
    )


def step_windows(step: int, *, batch: int, count: int, seed: int) -> np.ndarray:
    """Return the window numbers of one step: every epoch is its own seeded order, and nothing but `step` decides.

    [window of the batch]
    """
    first = step * batch
    epochs = range(first // count, (first + batch - 1) // count + 1)
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(count) for epoch in epochs])
    return order[first - epochs[0] * count :][:batch]
