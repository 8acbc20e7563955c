"""A tokenizer and a length -> prompts that hide a number in a text and ask for it, the same for every model and arm.

A prompt is as many sentences as fit into `length` tokens, with one sentence that states a number (the needle) at a
given share of them, and a question. `plain` asks after the text and nothing more; `cued` announces the question before
the text, names what the number is the number of, and begins the answer. Nothing is cut after the needle is in.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dropeact.axes import HALVES, InputError
from dropeact.corpus.facts import haystack

PromptForm = Literal["plain", "cued"]
FORMS: tuple[PromptForm, ...] = get_args(PromptForm)
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
KEYS = 20
DIGITS = 5
NEAR_MISSES = 3
ERRORS = ("right", "no number", "one digit more or less", "other length", "near miss", "more digits wrong")
NEAR = 2  # digits that differ in a near miss, at most
NAMES = ("amber", "silver", "crimson", "hollow", "quiet", "northern", "marble", "copper", "velvet", "ancient")
THINGS = ("lantern", "garden", "anchor", "compass", "violin", "orchard", "mirror", "falcon", "bridge", "cellar")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: a `context` with the needle, then the `question`; `near` are numbers with 1 or 2 digits changed."""

    id: str
    half: str
    form: PromptForm
    length: int
    needle_depth: float
    value: str
    near: tuple[str, ...]
    context: str
    question: str

    @property
    def text(self) -> str:
        """The whole prompt; the model goes on with the number."""
        return self.context + self.question

    def verification(self, candidate: str) -> str:
        """The prompt that asks whether `candidate` is the number; yes is right for `value` alone."""
        return f"{self.context}\n\nQuestion: Is the secret number {candidate}? Answer yes or no.\nAnswer:"

    @property
    def candidates(self) -> tuple[str, ...]:
        """The number itself, then its near misses."""
        return (self.value, *self.near)


def prompts(
    tokenizer: Any,
    *,
    half: str,
    form: PromptForm,
    length: int,
    depths: Iterable[float] = DEPTHS,
    keys: int = KEYS,
    seed: int = 0,
) -> tuple[Prompt, ...]:
    """Every key of one half at every depth, depth by depth.

    Half A has the even keys, half B the odd ones. A key has another number and another order of the sentences at each
    depth: prompts that shared an order would succeed and fail together, and not be a sample of so many. Forms and
    lengths share keys, numbers, depths and the order of the sentences.

    Raises
    ------
    InputError
        When a sentence does not fit into `length` tokens beside needle and question.
    """
    own = [_key(number, depth, seed) for depth in depths for number in range(keys) if HALVES[number % 2] == half]
    sizes = {sentence: _tokens(tokenizer, f" {sentence}") for sentence in haystack()}
    room = [length - _tokens(tokenizer, _text(form, key, [])) for key in own]
    if min(room) < max(sizes.values()):  # every prompt has a sentence
        raise InputError(
            f"expected room for a text; got {length} tokens, {length - min(room)} of them taken; choose a longer length"
        )
    return tuple(
        _prompt(key, half, form, length, _fitting(sizes, left, f"haystack {seed} {key.number} {key.depth}"))
        for key, left in zip(own, room, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Key:
    number: int
    depth: float
    name: str
    value: str
    near: tuple[str, ...]


def _key(number: int, depth: float, seed: int) -> _Key:
    draw = random.Random(f"key {seed} {number} {depth}")
    name = f"{NAMES[number % len(NAMES)]} {draw.choice(THINGS)}"
    value = str(draw.randrange(10 ** (DIGITS - 1), 10**DIGITS))
    near: list[str] = []
    while len(near) < NEAR_MISSES:
        changed = _changed(value, draw)
        if changed not in (value, *near):
            near.append(changed)
    return _Key(number, depth, name, value, tuple(near))


def _changed(value: str, draw: random.Random) -> str:
    """The number with one or two digits changed; the first one never becomes 0."""
    digits = list(value)
    for place in draw.sample(range(len(digits)), draw.choice((1, 2))):
        digits[place] = draw.choice([digit for digit in "123456789" if digit != digits[place]])
    return "".join(digits)


def _fitting(sizes: Mapping[str, int], left: int, seed: str) -> list[str]:
    """The first sentences of an endless shuffled haystack that fit into the tokens `left`."""
    fitting: list[str] = []
    for sentence in _endless(random.Random(seed)):
        left -= sizes[sentence]
        if left < 0:
            break
        fitting.append(sentence)
    return fitting


def _endless(draw: random.Random) -> Iterator[str]:
    pairs = list(zip(haystack()[::2], haystack()[1::2], strict=True))
    while True:
        for pair in draw.sample(pairs, len(pairs)):
            yield from pair


def _prompt(key: _Key, half: str, form: PromptForm, length: int, sentences: list[str]) -> Prompt:
    place = round(key.depth * len(sentences))
    body = [*sentences[:place], _needle(form, key), *sentences[place:]]
    return Prompt(
        id=f"key-{key.number:02d}-{key.depth:g}",
        half=half,
        form=form,
        length=length,
        needle_depth=key.depth,
        value=key.value,
        near=key.near,
        context=_opening(form) + " ".join(body),
        question=_question(form, key),
    )


def _text(form: PromptForm, key: _Key, sentences: list[str]) -> str:
    return _opening(form) + " ".join([_needle(form, key), *sentences]) + _question(form, key)


def _opening(form: PromptForm) -> str:
    announced = "A secret number is hidden in the text below. Remember it: at the end you will be asked for it.\n\n"
    return announced if form == "cued" else ""


def _needle(form: PromptForm, key: _Key) -> str:
    return f"The secret number{_of(form, key)} is {key.value}."


def _question(form: PromptForm, key: _Key) -> str:
    asked = f"\n\nQuestion: What is the secret number{_of(form, key)}?\nAnswer:"
    return f"{asked} The secret number{_of(form, key)} is" if form == "cued" else asked


def _of(form: PromptForm, key: _Key) -> str:
    return f" of the {key.name}" if form == "cued" else ""


def _tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
