"""Where training text comes from: local text or JSONL, a Hugging Face dataset name, or samples of the parent itself."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from dropeact.axes import InputError

PART = 20_000
TEXT_FIELDS = ("text", "content")


def documents(corpus: str, *, seed: int) -> Iterator[str]:
    """Yield the documents of a file (.jsonl: one an entry; text: long files in parts), a folder of files, or a dataset.

    Local documents come in a seeded order; a dataset streams in its own.

    Raises
    ------
    InputError
        When nothing is found there, or an entry has no text.
    """
    path = Path(corpus).expanduser()
    if path.exists():
        yield from _shuffled(path, seed)
    elif path.suffix or path.is_absolute():
        raise InputError(
            f"expected a text file, a folder or a dataset name as corpus; got {corpus}, which does not exist"
        )
    else:
        yield from _dataset(corpus)


def _shuffled(path: Path, seed: int) -> list[str]:
    """Read a file, or every text file of a folder, and shuffle the documents."""
    files = [file for file in path.rglob("*") if file.suffix in (".txt", ".md", ".jsonl")] if path.is_dir() else [path]
    found = [text for file in sorted(files) for text in _file(file)]
    random.Random(seed).shuffle(found)
    return found


def _file(path: Path) -> Iterator[str]:
    if path.suffix != ".jsonl":
        yield from _parts(path.read_text(encoding="utf-8", errors="replace").strip())
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _text_of(line, f"{path}, line {number}")


def _parts(text: str) -> Iterator[str]:
    """Cut a long text (a book in one file) at blank lines into documents of about 20,000 characters."""
    part: list[str] = []
    for paragraph in text.split("\n\n"):
        part.append(paragraph)
        if sum(map(len, part)) >= PART:
            yield "\n\n".join(part)
            part = []
    if any(part):
        yield "\n\n".join(part)


def _text_of(line: bytes, where: str) -> str:
    try:
        entry = json.loads(line.decode())
        for field in TEXT_FIELDS:
            if isinstance(entry, dict) and isinstance(text := entry.get(field), str):
                text.encode()  # half of a surrogate pair is no character
                return text
    except ValueError as error:
        raise InputError(f"expected one JSON object a line, in UTF-8; got {error} in {where}; correct it") from error
    raise InputError(f"expected a field `text` in {where}; got none")


def _dataset(name: str) -> Iterator[str]:
    """Stream the training split of a dataset of the Hugging Face hub (`NAME` or `NAME:CONFIG`)."""
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports] - an optional package
    except ImportError as error:
        raise InputError(
            f"expected a file or folder as corpus, or the package `datasets` for the dataset {name}; got neither; "
            "`pip install datasets`"
        ) from error
    name, _, config = name.partition(":")
    try:
        entries = load_dataset(name, config or None, split="train", streaming=True)
        for entry in entries:
            field = next((field for field in TEXT_FIELDS if isinstance(entry.get(field), str)), None)
            if field is None:
                raise InputError(f"expected a field `text` in dataset {name}; got {', '.join(entry)}")
            yield entry[field]
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a text file, a folder or a dataset name as corpus; got {name}: {str(error)[:200]}"
        ) from error
