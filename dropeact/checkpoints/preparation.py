"""What is checked and made before the first step: source, adapter and memory; text packed into windows of tokens."""

import json
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, memory
from dropeact.checkpoints.corpora import documents
from dropeact.checkpoints.drope import NORM_TYPES
from dropeact.checkpoints.identity import attention_of
from dropeact.checkpoints.load import Checkpoint, dense
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.packing import Windows, packed, separator_of
from dropeact.checkpoints.samples import samples
from dropeact.checkpoints.source import checked_config, recipe_of, source

BEGUN = "options.json"
WINDOWS = "windows.npz"


def check_share(options: Options, processes: int) -> None:
    """Refuse a batch that processes cannot share equally.

    Raises
    ------
    InputError
        When the batch is no multiple of the number of processes.
    """
    if options.batch % processes:
        raise InputError(
            f"expected a batch that {processes} processes share equally; got {options.batch}; change --batch"
        )


def check_source(options: Options, device: torch.device) -> None:
    """Refuse a source without rotation, or one that memory will not hold, before anything is loaded.

    Raises
    ------
    InputError
        When the source does not rotate, or the estimate is above the free memory.
    """
    config = checked_config(dense(source(options.source)))
    attention = attention_of(config)
    if config["model_type"] != "llama":
        raise InputError(
            f"expected a Llama with rotation to recalibrate; got {options.source} ({attention}); name its RoPE parent"
        )
    need = memory.needed(
        config,
        trainables=options.trainables,
        parent=options.objective == "distill",
        windows=options.micro_batch,
        length=options.length,
        checkpointing=options.checkpointing,
    )
    memory.check(need, device)


def check_adapter(options: Options, parent: Checkpoint) -> None:
    """Refuse to begin from an adapter of another source or of another kind of attention.

    Raises
    ------
    InputError
        When the adapter is missing, of another source, or of another kind of attention.
    """
    assert options.from_adapter is not None
    recipe = recipe_of(adapters.folder_of(options.from_adapter))
    wanted = "rope" if options.keep_rope else NORM_TYPES[options.qk_norm]
    if recipe["source"]["sha256"] != parent.identity["sha256"]:
        raise InputError(f"expected an adapter made from {options.source}; got one of {recipe['source']['id']}")
    if recipe["attention"] != wanted:
        raise InputError(
            f"expected an adapter with attention {wanted}; got {recipe['attention']}; give the same options"
        )


def windows_for(options: Options, parent: Checkpoint, folder: Path) -> Windows:
    """Return the run's windows of tokens: packed once, then read from its folder.

    Raises
    ------
    InputError
        When the corpus is empty or does not fill one batch and one held-out window.
    """
    file = folder / WINDOWS
    if file.is_file():
        with np.load(file) as kept:
            return Windows(kept["training"], kept["heldout"])
    separator = separator_of(parent.tokenizer, options.separator)
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
    _keep(windows, options, folder)
    return windows


def _texts(options: Options, parent: Checkpoint, separator: int) -> tuple[Iterable[str], int | None]:
    """Return the documents to train on, and how many of their tokens to take."""
    if options.corpus != "parent":
        return documents(options.corpus, seed=options.seed), options.corpus_tokens
    limit = options.corpus_tokens or options.tokens
    if limit is None:
        raise InputError("expected --corpus-tokens with --corpus=parent and --budget-minutes; got none; say how many")
    kept = {"separator_id": separator, "length": options.length, "seed": options.seed}
    return samples(parent.model, parent.tokenizer, **kept), limit


def _keep(windows: Windows, options: Options, folder: Path) -> None:
    """Write the windows into the run's folder, with the options that it was begun with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).write_text(json.dumps({"key": options.key(), "options": options.recipe()}))
    partial = folder / f"windows.tmp.{os.getpid()}.npz"
    np.savez(partial, training=windows.training, heldout=windows.heldout)
    partial.replace(folder / WINDOWS)
