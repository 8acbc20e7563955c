"""Facts and a model -> how much more probable the true completion is than a false one, and what it says to yes/no.

Nothing is generated for the main score: both completions are read after the same prompt, in one pass. Beside it stands
the yes/no form, by probability and by what the model writes; an answer that is neither yes nor no is wrong, and marked.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
import xarray as xr
from transformers import PreTrainedModel

from dropeact.corpus.facts import Fact
from dropeact.measurements.completions import continuation_ids, end_ids, greedy, log_probabilities, read, token_ids
from dropeact.measurements.manipulation import manipulation
from dropeact.probes.attention import attending
from dropeact.probes.interventions import Intervention, intervening

VERSION = 1
ROWS_AT_ONCE = 25
ANSWER_TOKENS = 2  # one for the word, one to see whether the word ends there
CHECKED = 4  # prompts that the manipulation checks are taken on
UNPARSED = -1
NORMALISATION = "log-probability of the whole completion: a sum over its tokens, not divided by their number"


def knowledge(
    model: PreTrainedModel,
    tokenizer: Any,
    items: Sequence[Fact],
    conditions: Mapping[str, Sequence[Intervention]],
    *,
    write_layer: int,
    selected_on: str,
    first_ids: Sequence[int] = (),
    at_once: int = ROWS_AT_ONCE,
) -> xr.Dataset:
    """Ask every item under every condition; `conditions["baseline"]` is `()`.

    log_odds [text, condition] = sum_j ln p(true_j) - sum_j ln p(false_j), nats; log_odds_per_token: each sum divided by
    its number of tokens; correct: log_odds > 0 (a tie is wrong). yes_log_odds = ln p(Yes) - ln p(No) of the yes/no
    form; yes_correct: above 0 where `asked`, below 0 elsewhere. answer: 1 yes, 0 no, -1 neither, as written;
    answer_correct counts -1 as wrong. The unit is the item: coordinate `text` is its id, beside `half`, `task` and
    `asked`. first_ratio and sink_rate [selected_on, condition] are the checks of `manipulation` at `write_layer`.

    `first_ids` are put before every prompt (the arm). `selected_on` is the half that masks and write layer came from.
    """
    coords = {
        "text": np.array([item.id for item in items]),
        **{name: ("text", np.array([getattr(item, name) for item in items])) for name in ("half", "task", "asked")},
    }
    parts = []
    for interventions in conditions.values():
        # undisturbed, too: attention of this package does not repeat keys and values for each query head
        with attending(model), intervening(model, *interventions), torch.no_grad():
            parts.append(_asked(model, tokenizer, items, list(first_ids), at_once).assign_coords(coords))
    asked = xr.concat(parts, xr.Variable("condition", np.array(list(conditions)))).transpose("text", "condition")
    checked = [[*first_ids, *token_ids(tokenizer, item.prompt)] for item in items[:: max(1, len(items) // CHECKED)]]
    checks = manipulation(model, checked[:CHECKED], conditions, layer=write_layer)
    return asked.merge(checks.expand_dims(selected_on=np.array([selected_on]))).assign_attrs(score=NORMALISATION)


def _asked(
    model: PreTrainedModel, tokenizer: Any, items: Sequence[Fact], first_ids: list[int], at_once: int
) -> xr.Dataset:
    """Both forms of every item under the condition that is entered."""
    scores = {name: np.zeros(len(items), np.float32) for name in ("log_odds", "log_odds_per_token", "yes_log_odds")}
    answers = np.zeros(len(items), np.int8)
    for _, indices in groupby(range(len(items)), lambda index: items[index].task):
        group = list(indices)
        prompts = [items[index].prompt for index in group]
        pairs = [
            [continuation_ids(tokenizer, prompt, text) for text in items[index].completions]
            for index, prompt in zip(group, prompts, strict=True)
        ]
        sums, _ = _scored(model, tokenizer, prompts, pairs, first_ids, at_once)
        counts = np.array([[len(ids) for ids in pair] for pair in pairs])
        scores["log_odds"][group] = sums[:, 0] - sums[:, 1]
        scores["log_odds_per_token"][group] = (sums / counts) @ [1, -1]
        prompts = [items[index].yes_no_prompt for index in group]
        pairs = [[continuation_ids(tokenizer, prompt, word) for word in (" Yes", " No")] for prompt in prompts]
        sums, written = _scored(model, tokenizer, prompts, pairs, first_ids, at_once, steps=ANSWER_TOKENS)
        scores["yes_log_odds"][group] = sums[:, 0] - sums[:, 1]
        answers[group] = [parsed(text) for text in written]
    return _labelled(scores, answers, np.array([item.asked for item in items]))


def _scored(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str],
    options: Sequence[Sequence[Sequence[int]]],
    first_ids: list[int],
    at_once: int,
    *,
    steps: int = 0,
) -> tuple[np.ndarray, list[str]]:
    """Log-probabilities (prompt, option), and what the model writes in `steps` tokens."""
    sums = np.zeros((len(prompts), len(options[0])))
    written = [""] * len(prompts)
    ends = end_ids(model)
    rows = [[*first_ids, *token_ids(tokenizer, prompt)] for prompt in prompts]
    for chosen, cached, last in read(model, rows, at_once=at_once):
        for option in range(sums.shape[1]):
            completions = [options[index][option] for index in chosen]
            sums[chosen, option] = log_probabilities(cached, last, completions).cpu().numpy()
        if steps:
            texts = greedy(cached, last, steps=steps, finished=lambda ids: ids[-1] in ends)
            for index, ids in zip(chosen, texts, strict=True):
                written[index] = tokenizer.decode(ids)
    return sums, written


def _labelled(scores: Mapping[str, np.ndarray], answers: np.ndarray, asked: np.ndarray) -> xr.Dataset:
    made = xr.Dataset({name: ("text", values) for name, values in scores.items()})
    return made.assign(
        correct=(made["log_odds"] > 0).astype(np.int8),
        yes_correct=(made["yes_log_odds"] * np.where(asked, 1, -1) > 0).astype(np.int8),
        answer=("text", answers),
        answer_correct=("text", (answers == asked.astype(np.int8)).astype(np.int8)),
    )


def parsed(text: str) -> int:
    """What an answer says: 1 yes, 0 no, -1 where the first line has neither or both as whole words."""
    words = set(re.findall(r"\b(yes|no)\b", text.strip().split("\n")[0].lower()))
    return {("yes",): 1, ("no",): 0}.get(tuple(words), UNPARSED)
