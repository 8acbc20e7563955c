"""Models that know exactly one thing, made of a real tiny Llama: what it has read is kept in its own cache.

The value projection carries the token itself, so that the history of a row is read off the cache, as crops, copies
and padding left it; the planted rule then names the next byte.
"""

import re
from collections.abc import Callable, Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from dropeact.checkpoints.dropping import dropped
from dropeact.corpus.facts import Fact

BYTES = 256
END = 0
CERTAIN = 20.0
Rule = Callable[[str], str]


class ByteTokenizer:
    """One id per byte of UTF-8; 0 ends a text."""

    def __call__(self, text: str, *, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


class Planted(LlamaForCausalLM):
    """Gives the next byte that `rule` names after the text so far, and no preference where it names none."""

    rule: Rule

    def forward(self, input_ids, attention_mask=None, past_key_values=None, logits_to_keep=None, **options):  # pyright: ignore[reportIncompatibleMethodOverride] - takes what the measurements pass
        read = super().forward(
            input_ids, attention_mask=attention_mask, past_key_values=past_key_values, logits_to_keep=1, **options
        )
        if attention_mask is None or past_key_values is None or logits_to_keep is None:
            return read
        values = past_key_values.layers[0].values
        history = (values.transpose(1, 2).flatten(2) @ self.model.embed_tokens.weight.T).argmax(-1)
        columns = (history.shape[1] + logits_to_keep).tolist()
        logits = torch.zeros(len(input_ids), len(columns), BYTES)
        for row, (ids, real) in enumerate(zip(history, attention_mask.bool(), strict=True)):
            for place, column in enumerate(columns):
                text = bytes(ids[: column + 1][real[: column + 1]].tolist()).decode(errors="replace")
                if following := self.rule(text):
                    logits[row, place, following.encode()[0]] = CERTAIN
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)


def planted(rule: Rule) -> Planted:
    """A model of one block that follows a rule."""
    config = LlamaConfig(
        vocab_size=BYTES,
        hidden_size=BYTES,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=BYTES,
        eos_token_id=END,
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = Planted(config).eval().requires_grad_(False)
    model.model.embed_tokens.weight.copy_(torch.eye(BYTES))
    model.get_parameter("model.layers.0.self_attn.v_proj.weight").copy_(torch.eye(BYTES))
    model.rule = rule
    return model


def copier(text: str) -> str:
    """Copies the number of the needle to where it is asked for; knows nothing else."""
    needle = re.search(r"The secret number[a-z ]* is (\d+)\.", text)
    asked = re.search(r"(?:What is .*\nAnswer:(?: The secret number[a-z ]* is)?)( \d*|)$", text)
    if needle is None or asked is None:
        return ""
    return f" {needle[1]}\0"[len(asked[1]) :][:1]


def knower(items: Sequence[Fact]) -> Rule:
    """Knows every fact, completed or asked for, and copies nothing."""
    known = {item.prompt: f" {item.true}" for item in items}
    known |= {item.yes_no_prompt: " Yes" if item.asked else " No" for item in items}

    def rule(text: str) -> str:
        for prompt, completion in known.items():
            rest = text.removeprefix(prompt)
            if text.startswith(prompt) and completion.startswith(rest):
                return completion[len(rest) :][:1] or "\0"
        return ""

    return rule


ANSWERS, ASKING, CHANNEL = 5, 15, 3
"""Ids 5..9 are the answers, 10..14 the same ones marked, 15 asks for the one that was marked, 0..4 mean nothing."""


def recaller(*, rotation: bool) -> PreTrainedModel:
    """A model of one block that names the marked answer: only channel 3 of its first head knows the mark.

    Queries of the asking token and keys of marked tokens are large there; values say which answer a token is. All
    other channels and heads are noise. With rotation, channel 3 turns too slowly to matter.
    """
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e8},
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    block = "model.layers.0"
    query, key, value, out, down, embedding, head = (
        model.get_parameter(f"{name}.weight")
        for name in (
            *(f"{block}.self_attn.{part}_proj" for part in ("q", "k", "v", "o")),
            f"{block}.mlp.down_proj",
            "model.embed_tokens",
            "lm_head",
        )
    )
    embedding.copy_(torch.eye(16, 32))
    for noise in (query, key, value, out):
        noise.mul_(0.5)
    down.zero_()
    head.zero_()
    query[CHANNEL, ASKING] = key[CHANNEL, 10:15] = 3
    for answer in range(ANSWERS):
        value[answer, [5 + answer, 10 + answer]] = 1
        out[20 + answer, answer] = 1
        head[5 + answer, 20 + answer] = 5
    return model if rotation else dropped(model)


def recalled(answer: int, *, seed: int) -> list[int]:
    """A text that marks one answer, holds every answer as often, and asks; the marked answer is its last token."""
    generator = torch.Generator().manual_seed(seed)
    mentioned = [5 + other for other in range(ANSWERS) for _ in range(2 if other == answer else 3)]
    before = torch.tensor([10 + answer, *mentioned, *range(5)])
    return [*before[torch.randperm(len(before), generator=generator)].tolist(), ASKING, 5 + answer]
