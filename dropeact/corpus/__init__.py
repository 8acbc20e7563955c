"""What the models read: 32 passages in four registers, 16 repeated sentences, or a file of the user's own.

Files in, tuples of `Passage` out. Every text carries the half, A or B, that decides whether it selects or judges.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from dropeact.axes import HALVES, InputError

REGISTERS = ("literary", "technical", "conversational", "factual")
MINIMUM_TEXTS = 16
# The shortest sentence has 17 SmolLM2 tokens: 32 times 17 = 544, enough for 512 positions in every arm.
REPETITIONS = 32


@dataclass(frozen=True, slots=True)
class Passage:
    """One text, the unit of every statistical test, with the half it selects or judges in."""

    id: str
    register: str
    half: str
    text: str


@cache
def passages() -> tuple[Passage, ...]:
    """Give the 32 passages, eight per register (four in each half), register by register.

    They were written for this project. Each has at least 540 tokens under the SmolLM2 tokenizer, and no two begin
    with the same token.
    """
    return tuple(passage for register in REGISTERS for passage in _bundled(f"passages/{register}.jsonl"))


@cache
def repeated() -> tuple[Passage, ...]:
    """Give 16 texts, each of them one sentence repeated 32 times with single spaces (544 to 736 SmolLM2 tokens)."""
    return tuple(
        Passage(sentence.id, sentence.register, sentence.half, " ".join([sentence.text] * REPETITIONS))
        for sentence in _bundled("repeated.jsonl")
    )


def from_file(path: str | Path) -> tuple[Passage, ...]:
    r"""Read a user's own texts; they fall into halves A and B by turns, in the order of the file.

    A name ending in `.jsonl` is read as one JSON object per line: `text`, and optionally `id` and `register` (other
    keys are ignored). Any other file is plain UTF-8 text in which blank lines separate the texts, line breaks inside
    a text staying as they are. Texts without an id are numbered: `text-01`, `text-02`, ...

    Raises
    ------
    InputError
        The file cannot be read or is not UTF-8, a line is no object with a text, an id or a text occurs twice, or
        there are fewer than 16 texts.
    """
    path = Path(path)
    content = _utf8(path)
    entries = _json_lines(path, content) if path.suffix.lower() == ".jsonl" else _paragraphs(content)
    texts = tuple(
        Passage(
            id=entry.get("id", f"text-{number:02d}"),
            register=entry.get("register", "own"),
            half=HALVES[(number - 1) % 2],
            text=entry["text"],
        )
        for number, entry in enumerate(entries, start=1)
    )
    _check_distinct(path, "id", [passage.id for passage in texts])
    _check_distinct(path, "text", [passage.text for passage in texts])
    if len(texts) < MINIMUM_TEXTS:
        raise InputError(
            f"expected at least {MINIMUM_TEXTS} texts in {path}; got {len(texts)}; add texts (they are the sample), "
            "one JSON object per line in a .jsonl file or separated by blank lines in any other"
        )
    return texts


def corpus_hash(texts: Iterable[Passage]) -> str:
    """Identify a corpus: SHA-256, in hexadecimal, of its ids, registers, halves, and texts in their order."""
    return sha256(json.dumps([astuple(passage) for passage in texts]).encode()).hexdigest()


def _bundled(name: str) -> list[Passage]:
    lines = files("dropeact.corpus").joinpath(name).read_text(encoding="utf-8").splitlines()
    return [Passage(**json.loads(line)) for line in lines]


def _utf8(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected UTF-8 text in {path}; got {error.object[error.start]:#04x} at byte {error.start}; "
            "convert it, for instance with iconv -t UTF-8"
        ) from error
    except OSError as error:
        raise InputError(
            f"expected a file of texts at {path}; got {error.strerror or error}; "
            "name a readable .jsonl or plain text file"
        ) from error


def _paragraphs(content: str) -> list[dict[str, str]]:
    return [{"text": text.strip()} for text in re.split(r"\n\s*\n", content) if text.strip()]


def _json_lines(path: Path, content: str) -> list[dict[str, str]]:
    # str.splitlines would also cut at the line separators that JSON allows inside a string.
    lines = enumerate(content.split("\n"), start=1)
    return [_entry(f"line {number} of {path}", line) for number, line in lines if line.strip()]


def _entry(place: str, line: str) -> dict[str, str]:
    expected = f'expected a JSON object with a "text" on {place}'
    remedy = 'write one object per line, such as {"id": "my-01", "text": "It was late."}'
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{expected}; got no valid JSON ({error}); {remedy}") from error
    if not isinstance(entry, dict) or "text" not in entry:
        got = f"the keys {sorted(entry)}" if isinstance(entry, dict) else type(entry).__name__
        raise InputError(f"{expected}; got {got}; {remedy}")
    for key in ("id", "register", "text"):
        value = entry.get(key, "absent")
        if not isinstance(value, str) or not value.strip():
            raise InputError(
                f'expected a string that is not empty as "{key}" on {place}; got {_shortened(value)}; {remedy}'
            )
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(
                f'expected whole characters as "{key}" on {place}; got half of a surrogate pair in '
                f"{_shortened(value)}; write the file again from its source, as UTF-8"
            )
    return entry


def _check_distinct(path: Path, key: str, values: list[str]) -> None:
    first: dict[str, int] = {}
    for number, value in enumerate(values, start=1):
        if first.setdefault(value, number) != number:
            raise InputError(
                f"expected a different {key} for every text of {path}; got {_shortened(value)} "
                f"for texts {first[value]} and {number}; change or remove one of them"
            )


def _shortened(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
