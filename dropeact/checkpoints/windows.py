"""The windows of tokens that a run trains on: packed once from its corpus, then read from its folder."""

import json
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dropeact.axes import InputError
from dropeact.checkpoints import adapters
from dropeact.checkpoints.cache import sha256_of
from dropeact.checkpoints.corpora import documents
from dropeact.checkpoints.load import Checkpoint
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.packing import Windows, packed, separator_of
from dropeact.checkpoints.recipes import corpus_summary
from dropeact.checkpoints.samples import samples
from dropeact.checkpoints.source import ADAPTER
from dropeact.files import write_text

BEGUN = "options.json"
WINDOWS = "windows.npz"


def origin(options: Options, parent: Checkpoint) -> dict:
    """What a run begins from beside its options, by content: source, adapter and corpus."""
    earlier = options.from_adapter
    return {
        "source": parent.identity["sha256"],
        "adapter": sha256_of(adapters.folder_of(earlier) / ADAPTER) if earlier else None,
        "corpus": corpus_summary(options.corpus),
    }


def _check_origin(begun: dict, now: dict, folder: Path) -> None:
    """Refuse to go on from other weights or text than a run was begun with."""
    for name, content in now.items():
        if begun.get(name) != content:
            raise InputError(
                f"expected the {name} that {folder} was begun with; got other content in its place; put it back, or "
                f"remove {folder}"
            )


def corpus_begun_with(folder: Path) -> dict:
    """Describe the corpus that an unfinished run was begun with."""
    return json.loads((folder / BEGUN).read_text("utf-8"))["corpus"]


def windows_for(options: Options, parent: Checkpoint, folder: Path) -> Windows:
    """Return the run's windows of tokens: packed once, then read from its folder.

    Raises
    ------
    InputError
        When the corpus is empty or does not fill one batch and one held-out window, the source has no embedding of a
        token, or source, adapter or corpus are not those that the run was begun with.
    """
    file, now = folder / WINDOWS, origin(options, parent)
    if file.is_file():
        _check_origin(json.loads((folder / BEGUN).read_text("utf-8")), now, folder)
        with np.load(file) as kept:
            return Windows(kept["training"], kept["heldout"])
    separator = separator_of(parent.tokenizer, options.separator)
    _check_token(separator, parent.model, options)
    texts, limit = _texts(options, parent, separator)
    texts = iter(texts)
    first = next(texts, None)
    if first is None:
        raise InputError(f"expected text in the corpus {options.corpus}; got none; name a file or folder with text")
    windows = packed(
        chain((first,), texts),
        parent.tokenizer,
        separator_id=separator,
        length=options.length,
        heldout=options.heldout_windows,
        limit=limit,
    )
    if len(windows.training) < options.batch or not len(windows.heldout):
        raise InputError(
            f"expected at least one batch of {options.batch} windows of {options.length} tokens and a held-out one; "
            f"got {len(windows.training)} and {len(windows.heldout)} from {options.corpus}; add text or lower --batch"
        )
    _check_token(max(int(part.max()) for part in windows), parent.model, options)
    _keep(windows, {"key": options.key(), "options": options.recipe()} | now, folder)
    return windows


def _check_token(largest: int, model: Any, options: Options) -> None:
    """Refuse a token that the source has no embedding of."""
    if largest >= (known := model.get_input_embeddings().num_embeddings):
        raise InputError(
            f"expected tokens that {options.source} has embeddings of, {known} of them; got the id {largest}; "
            "put the model's own tokenizer beside it"
        )


def _texts(options: Options, parent: Checkpoint, separator: int) -> tuple[Iterable[str], int | None]:
    """Return the documents to train on, and how many of their tokens to take."""
    if options.corpus != "parent":
        return documents(options.corpus, seed=options.seed), options.corpus_tokens
    limit = options.corpus_tokens or options.tokens
    if limit is None:
        raise InputError("expected --corpus-tokens with --corpus=parent and --budget-minutes; got none; say how many")
    kept = {"separator_id": separator, "length": options.length, "seed": options.seed}
    return samples(parent.model, parent.tokenizer, **kept), limit


def _keep(windows: Windows, begun: dict, folder: Path) -> None:
    """Write the windows into the run's folder, with what it was begun with."""
    write_text(folder / BEGUN, json.dumps(begun))
    partial = folder / f"windows.tmp.{os.getpid()}.npz"
    np.savez(partial, training=windows.training, heldout=windows.heldout)
    partial.replace(folder / WINDOWS)
