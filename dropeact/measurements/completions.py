"""Token rows in a model's cache -> log-probabilities of what may follow, and what the model itself would write.

Rows of different lengths are padded on the left, wherever they are extended; positions count real tokens only, so that
a row gets what it would get alone. What rows share is passed once, and what follows a context is tried and taken back.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.measurements.growing_cache import FOLLOWING, GrowingCache

CHUNK = 1024  # columns passed at once: no mask or score larger than CHUNK x keys
TOKENS = 4096  # tokens passed at once: what glibc allocates above 32 MiB is made of new pages every time
PAD_ID, PAD_POSITION = 0, 1  # any id; any position but 0, which means the first token of a text

Ids = Sequence[int]


class Cached:
    """Rows of tokens that a model has read; `mask` says which columns of the cache are tokens of a row."""

    def __init__(self, model: PreTrainedModel, rows: int = 1) -> None:
        self.model = model
        self.cache = GrowingCache()
        self.mask: Bool[Tensor, "row column"] = torch.zeros(rows, 0, dtype=torch.bool, device=model.device)

    def extend(self, rows: Sequence[Ids], *, keep: int = 1) -> Float[Tensor, "row kept vocabulary"]:
        """Read more tokens per row (none is allowed where others have some); logits at the last `keep` columns."""
        width = max(map(len, rows))
        ids = torch.tensor([[PAD_ID] * (width - len(row)) + list(row) for row in rows], device=self.mask.device)
        real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=ids.device)
        before = self.mask.shape[1]
        self.mask = torch.cat([self.mask, real], dim=1)
        positions = (self.mask.cumsum(1) - 1).masked_fill(~self.mask, PAD_POSITION)[:, before:]
        starts = range(0, max(1, width - keep + 1), max(1, min(CHUNK, TOKENS // len(rows))))
        logits = torch.empty(0)
        for start, stop in zip(starts, [*starts[1:], width], strict=True):
            last = kept = min(keep, stop - start)
            if ids.device.type == "cpu":  # columns by number make a copy: a slice would be multiplied row by row
                last = torch.arange(-kept, 0)
            logits = self.model(
                ids[:, start:stop],
                attention_mask=self.mask[:, : before + stop].long(),
                position_ids=positions[:, start:stop],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=last,
            ).logits
        return logits.float()

    def repeated(self, rows: int) -> "Cached":
        """A copy of a single row for each of `rows` rows."""
        made = Cached(self.model, rows)
        if self.mask.shape[1]:
            made.cache = copy.deepcopy(self.cache)
            made.cache.batch_repeat_interleave(rows)
            made.mask = self.mask.expand(rows, -1)
        return made

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Take back, at the end, whatever was read inside."""
        columns, mask = self.mask.shape[1], self.mask
        try:
            yield
        finally:
            self.cache.crop(columns - self.mask.shape[1])
            self.mask = mask


def rows_together(model: PreTrainedModel, tokens: int, *, most: int) -> int:
    """How many rows of up to `tokens` tokens may be read in a batch: one where a sliding window is shorter.

    Padding between the parts of a row would count as tokens of the window.
    """
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return most if window is None or tokens + FOLLOWING <= window else 1


def common_length(rows: Sequence[Ids]) -> int:
    """How many first tokens all rows share, leaving at least one of each row."""
    columns = zip(*(row[: min(map(len, rows)) - 1] for row in rows), strict=True)
    return sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, columns))


def read(model: PreTrainedModel, rows: Sequence[Ids], *, at_once: int) -> Iterator[tuple[list[int], Cached, Tensor]]:
    """Read rows in batches of similar length, what all share once: (indices, their cache, last logits per row)."""
    shared = common_length(rows)
    prefix = Cached(model)
    if shared:
        prefix.extend([rows[0][:shared]])
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    at_once = rows_together(model, max(map(len, rows)), most=at_once)
    for start in range(0, len(order), at_once):
        chosen = order[start : start + at_once]
        cached = prefix if len(rows) == 1 else prefix.repeated(len(chosen))  # a long row's cache may be half of memory
        yield chosen, cached, cached.extend([rows[index][shared:] for index in chosen])[:, -1]


def log_probabilities(
    cached: Cached, last: Float[Tensor, "row vocabulary"], completions: Sequence[Ids]
) -> Float[Tensor, " row"]:
    """Log-probability of one completion per row, a sum over its tokens, in nats; the cache is as before.

    log p(c) = sum_j ln softmax(z_j)[c_j], z_1 = `last`
    """
    first = torch.tensor([ids[0] for ids in completions], device=last.device)
    total = last.log_softmax(-1).gather(1, first[:, None]).squeeze(1)
    width = max(map(len, completions)) - 1
    if not width:
        return total
    with cached.branch():
        logits = cached.extend([ids[:-1] for ids in completions], keep=width).log_softmax(-1)
    for row, ids in enumerate(completions):
        rest = torch.tensor(ids[1:], dtype=torch.long, device=last.device)
        total[row] += logits[row, width - len(rest) :].gather(1, rest[:, None]).sum()
    return total


def greedy(
    cached: Cached, last: Float[Tensor, "row vocabulary"], *, steps: int, finished: Callable[[Ids], bool]
) -> list[list[int]]:
    """The most probable next token, `steps` times or until `finished`, per row; the cache is as before."""
    written: list[list[int]] = [[] for _ in range(len(last))]
    done = [False] * len(written)
    with cached.branch():
        for step in range(steps):
            chosen = last.argmax(-1).tolist()
            for row, token in enumerate(chosen):
                if not done[row]:
                    written[row].append(token)
                    done[row] = finished(written[row])
            if all(done) or step == steps - 1:
                break
            last = cached.extend([[token] for token in chosen])[:, -1]
    return written


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text, no special token added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def continuation_ids(tokenizer: Any, prompt: str, text: str) -> list[int]:
    """The ids that `text` adds to `prompt`, read together; on its own where the two melt at the seam."""
    before, whole = token_ids(tokenizer, prompt), token_ids(tokenizer, prompt + text)
    return whole[len(before) :] if whole[: len(before)] == before else token_ids(tokenizer, text)


def end_ids(model: PreTrainedModel) -> frozenset[int]:
    """The ids that end a text."""
    ends = model.generation_config.eos_token_id if model.generation_config else model.config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or [])
