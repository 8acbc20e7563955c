"""Prompts that hide a number and a model -> what it answers, how it errs, how it ranks the number among near misses.

Prompts are read in batches, what all of a batch share once; question, candidates and verification are tried one after
the other on the same context. Nothing larger than the cache is kept, so that lengths to 128k fit where a user has the
memory.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from transformers import PreTrainedModel

from dropeact.corpus.retrieval import (
    DEPTHS,
    ERRORS,
    FORMS,
    KEYS,
    NEAR,
    NEAR_MISSES,
    Prompt,
    PromptForm,
    prompts,
)
from dropeact.measurements.completions import (
    common_length,
    continuation_ids,
    end_ids,
    greedy,
    log_probabilities,
    read,
    rows_together,
    token_ids,
)
from dropeact.probes.attention import attending
from dropeact.probes.interventions import Intervention, intervening

VERSION = 1
LENGTHS = (256, 512)
ANSWER_TOKENS = 32  # a model may write a sentence before the number: 16 tokens cut 10 right answers of 100
TOKENS_AT_ONCE = 16384
CANDIDATES = ("exact", *(f"near-{number}" for number in range(1, NEAR_MISSES + 1)))
COMBINED = ("form", "length", "condition")
Combination = tuple[PromptForm, int, str]


def retrieval(
    model: PreTrainedModel,
    tokenizer: Any,
    conditions: Mapping[str, Sequence[Intervention]],
    *,
    half: str,
    lengths: Sequence[int] = LENGTHS,
    verified: Sequence[str] = ("baseline",),
    first_ids: Sequence[int] = (),
    forms: Sequence[PromptForm] = FORMS,
    depths: Sequence[float] = DEPTHS,
    keys: int = KEYS,
    which: slice = slice(None),
    answer_tokens: int = ANSWER_TOKENS,
) -> xr.Dataset:
    r"""Ask prompts of one half, or `which` of them, in every form and length and condition.

    `verified` names the conditions under which candidates are verified, in the plain form; they are ranked under all.
    Dims: text (the item: key and depth), form, length, condition, candidate.

    exact: the value stands in the answer as a number (\b{value}\b); substring: anywhere in it; error: index into
    `ERRORS` by the first number of the answer; answer: the text, up to the end of its first number, an end token or
    `answer_tokens` tokens. candidate_log_probability: sum over tokens of the value and of each near miss in place of
    the answer, nats; candidate_yes: p(Yes) / (p(Yes) + p(No)) when asked whether the candidate is the number.
    """
    parts: dict[Combination, xr.Dataset] = {}
    for form, length in product(forms, lengths):
        made = prompts(tokenizer, half=half, form=form, length=length, depths=depths, keys=keys)[which]
        for condition, interventions in conditions.items():
            asked = condition in verified and form == "plain"
            # undisturbed, too: attention of this package does not repeat keys and values for each query head
            with attending(model), intervening(model, *interventions), torch.no_grad():
                answered = _answered(model, tokenizer, made, list(first_ids), verified=asked, steps=answer_tokens)
            parts[form, length, condition] = answered
    return _joined(parts).assign_attrs(errors=list(ERRORS))


def _joined(parts: Mapping[Combination, xr.Dataset]) -> xr.Dataset:
    """One array over all combinations, which come in the order of their product."""
    first = next(iter(parts.values()))
    labels = {dim: list(dict.fromkeys(names)) for dim, names in zip(COMBINED, zip(*parts, strict=True), strict=True)}
    joined = {}
    for name, variable in first.data_vars.items():
        values = np.stack([part[name].values for part in parts.values()])
        values = values.reshape(*map(len, labels.values()), *variable.shape)
        joined[name] = xr.DataArray(values, dims=(*COMBINED, *variable.dims)).transpose("text", ...)
    coords = dict(first.coords) | {dim: np.array(names) for dim, names in labels.items()}
    return xr.Dataset(joined, coords=coords)


def _answered(
    model: PreTrainedModel,
    tokenizer: Any,
    made: Sequence[Prompt],
    first_ids: list[int],
    *,
    verified: bool,
    steps: int,
) -> xr.Dataset:
    """All prompts of one form and length under the condition that is entered."""
    answers: list[str] = []
    scores = np.full((len(made), len(CANDIDATES)), np.nan, np.float32)
    agreed = np.full_like(scores, np.nan)
    length = made[0].length
    at_once = rows_together(model, length, most=max(1, TOKENS_AT_ONCE // length))
    for chosen in np.array_split(np.arange(len(made)), -(-len(made) // at_once)):
        asking = _Asking(model, tokenizer, [made[index] for index in chosen], first_ids)
        texts, scores[chosen] = asking.answers(steps)
        answers += texts
        if verified:
            agreed[chosen] = asking.verifications()
    return _labelled(made, answers, scores, agreed)


class _Asking:
    """Prompts whose contexts have been read."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, made: Sequence[Prompt], first_ids: list[int]) -> None:
        self.model, self.tokenizer, self.prompts, self.first_ids = model, tokenizer, made, first_ids
        asked = [[self._ids(prompt.text), self._ids(prompt.verification(prompt.value))] for prompt in made]
        self.read = [common_length(both) for both in asked]
        contexts = [both[0][:length] for both, length in zip(asked, self.read, strict=True)]
        ((self.order, self.cached, _),) = read(model, contexts, at_once=len(made))

    def _ids(self, text: str) -> list[int]:
        return [*self.first_ids, *token_ids(self.tokenizer, text)]

    def _in_order(self, values: np.ndarray) -> np.ndarray:
        return values[np.argsort(self.order)]

    def _then(self, text: Callable[[Prompt], str]) -> Tensor:
        """Read what follows the context; logits after it."""
        rows = [self._ids(text(self.prompts[index]))[self.read[index] :] for index in self.order]
        return self.cached.extend(rows)[:, -1]

    def answers(self, steps: int) -> tuple[list[str], np.ndarray]:
        """What the model writes in so many tokens, and the log-probability of every candidate (prompt, candidate)."""
        ends = end_ids(self.model)

        def finished(ids: Sequence[int]) -> bool:
            return ids[-1] in ends or re.search(r"\d\D", self.tokenizer.decode(ids)) is not None

        with self.cached.branch():
            last = self._then(lambda prompt: prompt.text)
            written = greedy(self.cached, last, steps=steps, finished=finished)
            scores = np.stack([self._candidate(last, number) for number in range(len(CANDIDATES))], 1)
        texts = np.array([self._text([t for t in ids if t not in ends]) for ids in written], dtype=object)
        return self._in_order(texts).tolist(), self._in_order(scores)

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids).replace("\0", "\N{REPLACEMENT CHARACTER}")  # NetCDF's texts end at a NUL

    def _candidate(self, last: Tensor, number: int) -> np.ndarray:
        chosen = [self.prompts[index] for index in self.order]
        completions = [continuation_ids(self.tokenizer, p.text, f" {p.candidates[number]}") for p in chosen]
        return log_probabilities(self.cached, last, completions).cpu().numpy()

    def verifications(self) -> np.ndarray:
        """p(Yes) against p(No) of every candidate (prompt, candidate); what the questions of a prompt share, once."""
        asked = [self._verifying(index) for index in self.order]
        shared = [common_length(questions) for questions in asked]
        with self.cached.branch():
            self.cached.extend([questions[0][:length] for questions, length in zip(asked, shared, strict=True)])
            agreed = [
                self._verified([rows[number][length:] for rows, length in zip(asked, shared, strict=True)], number)
                for number in range(len(CANDIDATES))
            ]
        return self._in_order(np.stack(agreed, 1))

    def _verifying(self, index: int) -> list[list[int]]:
        """What follows the context where each candidate is asked about."""
        prompt = self.prompts[index]
        return [self._ids(prompt.verification(number))[self.read[index] :] for number in prompt.candidates]

    def _verified(self, rows: Sequence[Sequence[int]], number: int) -> np.ndarray:
        texts = [p.verification(p.candidates[number]) for p in (self.prompts[index] for index in self.order)]
        with self.cached.branch():
            last = self.cached.extend(rows)[:, -1]
            yes, no = (
                log_probabilities(self.cached, last, [continuation_ids(self.tokenizer, text, word) for text in texts])
                for word in (" Yes", " No")
            )
        return torch.sigmoid(yes - no).cpu().numpy()


def _labelled(made: Sequence[Prompt], answers: Sequence[str], scores: np.ndarray, agreed: np.ndarray) -> xr.Dataset:
    values = [prompt.value for prompt in made]
    pairs = list(zip(answers, values, strict=True))
    exact = np.array([is_exact(*pair) for pair in pairs], np.float32)
    contained = np.array([value in answer for answer, value in pairs], np.float32)
    return xr.Dataset(
        {
            "exact": ("text", exact),
            "substring": ("text", contained),
            "error": ("text", np.array([error_class(*pair) for pair in pairs], np.int8)),
            "answer": ("text", np.array(answers, dtype=str)),
            "candidate_log_probability": (("text", "candidate"), scores),
            "candidate_yes": (("text", "candidate"), agreed),
        },
        coords={
            "text": np.array([prompt.id for prompt in made]),
            "half": ("text", np.array([prompt.half for prompt in made])),
            "needle_depth": ("text", np.array([prompt.needle_depth for prompt in made])),
            "value": ("text", np.array(values)),
            "candidate": np.array(CANDIDATES),
        },
    )


def is_exact(answer: str, value: str) -> bool:
    """Whether the value stands in the answer as a number of its own."""
    return re.search(rf"\b{value}\b", answer) is not None


def error_class(answer: str, value: str) -> int:
    """How an answer errs, as an index into `ERRORS`: by the length and the digits of its first number."""
    if is_exact(answer, value):
        return ERRORS.index("right")
    found = re.search(r"\d+", answer)
    if found is None:
        return ERRORS.index("no number")
    excess = abs(len(found[0]) - len(value))
    if excess:
        return ERRORS.index("one digit more or less" if excess == 1 else "other length")
    wrong = sum(a != b for a, b in zip(found[0], value, strict=True))
    return ERRORS.index("near miss" if wrong <= NEAR else "more digits wrong")
