"""What is checked and made before the first step: source, adapter and memory; text packed into windows of tokens."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, memory
from dropeact.checkpoints.cache import sha256_of
from dropeact.checkpoints.corpora import documents
from dropeact.checkpoints.drope import NORM_TYPES
from dropeact.checkpoints.identity import attention_of, softmax_scale_of
from dropeact.checkpoints.load import Checkpoint, dense
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.packing import Windows, packed, separator_of
from dropeact.checkpoints.recipes import corpus_summary
from dropeact.checkpoints.samples import samples
from dropeact.checkpoints.source import ADAPTER, checked_config, recipe_of, source
from dropeact.checkpoints.trainables import precision_for
from dropeact.files import write_text

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
    found = source(options.source)
    config = checked_config(dense(found))
    adapted = found.kind == "adapter"
    attention = recipe_of(Path(found.place)).get("attention") if adapted else attention_of(config)
    if config["model_type"] != "llama" or attention != "rope":
        raise InputError(
            f"expected a Llama with rotation to recalibrate; got {options.source} ({attention}); name its RoPE parent"
        )
    need = memory.needed(
        config,
        trainables=options.trainables,
        half=precision_for(options.precision, device) != torch.float32,
        cpu=device.type == "cpu",
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
        When the adapter is missing or damaged, of another source, or of another kind of attention.
    """
    assert options.from_adapter is not None
    folder = adapters.folder_of(options.from_adapter)
    recipe = recipe_of(folder)
    adapters.tensors_of(folder)
    wanted = "rope" if options.keep_rope else NORM_TYPES[options.qk_norm]
    if recipe["source"]["sha256"] != parent.identity["sha256"]:
        raise InputError(f"expected an adapter made from {options.source}; got one of {recipe['source']['id']}")
    if recipe.get("attention") != wanted:
        raise InputError(
            f"expected an adapter with attention {wanted}; got {recipe.get('attention')}; give the same options"
        )
    if (scale := softmax_scale_of(recipe)) != options.softmax_scale:
        raise InputError(
            f"expected an adapter with softmax scale {options.softmax_scale}; got {scale}; give the same options"
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder against the same command in another process.

    Raises
    ------
    InputError
        When it is held already.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"expected one run at a time in {folder}; got another that is not over; wait for it") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


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
