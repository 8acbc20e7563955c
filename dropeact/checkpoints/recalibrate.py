"""Continued training of a dropped checkpoint: `Options` in, a checkpoint folder with adapter, recipe and log out.

Everything counts tokens, never the clock: the same options give the same weights, in one sitting or in many.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import AdamW

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, memory, recipes, trainables
from dropeact.checkpoints.corpora import documents
from dropeact.checkpoints.drope import NORM_TYPES, dropped, restored
from dropeact.checkpoints.identity import attention_of
from dropeact.checkpoints.load import Checkpoint, dense, load
from dropeact.checkpoints.log import Log, read
from dropeact.checkpoints.loop import Loop, bins_of
from dropeact.checkpoints.options import Options, check_places, unfinished
from dropeact.checkpoints.packing import Windows, packed, separator_of
from dropeact.checkpoints.samples import samples
from dropeact.checkpoints.source import checked_config, source
from dropeact.checkpoints.training import Student

BEGUN = "options.json"
WINDOWS = "windows.npz"
ADAPTER = "adapter"
SNAPSHOTS = "snapshots"
# the published recipe: no weight decay; arXiv:2512.12167 and its run configurations
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Beginning:
    """What a run begins with: the parent's checkpoint and untouched weights, the model to train, reference losses."""

    options: Options
    parent: Checkpoint
    weights: dict[str, Tensor]
    model: Any
    heldout: dict[str, dict[str, float]]


def recalibrate(options: Options) -> Path:
    """Train a checkpoint as the options say and return the destination; the same call again goes on where it stopped.

    Raises
    ------
    InputError
        When the destination exists, the source has no rotation, the corpus is too small, or memory will not suffice.
    """
    check_places(options)
    accelerator = Accelerator()
    _check_source(options, accelerator.device)
    parent = load(options.source, device=accelerator.device)
    folder = unfinished(options.destination)
    with accelerator.main_process_first():
        windows = _windows(options, parent, folder)
    beginning, loop = _begin(options, accelerator, parent, windows, folder)
    for step in loop.train():
        if accelerator.is_main_process and loop.steps and step in _marks(options.snapshots, loop.steps):
            _write_adapter(folder / SNAPSHOTS / f"{loop.tokens:012d}", beginning, loop)
    if accelerator.is_main_process:
        _finish(folder, beginning, loop)
    accelerator.wait_for_everyone()
    return Path(options.destination)


def _check_source(options: Options, device: torch.device) -> None:
    """Refuse a source without rotation, or one that memory will not hold, before anything is loaded."""
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


def _windows(options: Options, parent: Checkpoint, folder: Path) -> Windows:
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
    texts: Iterable[str]
    limit = options.corpus_tokens
    if options.corpus == "parent":
        texts = samples(
            parent.model, parent.tokenizer, separator_id=separator, length=options.length, seed=options.seed
        )
        limit = limit or options.tokens
        if limit is None:
            raise InputError(
                "expected --corpus-tokens with --corpus=parent and --budget-minutes; got none; say how many to sample"
            )
    else:
        texts = documents(options.corpus, seed=options.seed)
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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).write_text(json.dumps({"key": options.key(), "options": options.recipe()}))
    partial = folder / f"windows.tmp.{os.getpid()}.npz"
    np.savez(partial, training=windows.training, heldout=windows.heldout)
    partial.replace(file)
    return windows


def student_model(options: Options, parent: Checkpoint) -> Any:
    """Return the model to train, on tensors of its own: dropped (or with the rotation kept), with an adapter added."""
    attention = NORM_TYPES[options.qk_norm]
    model = dropped(parent.model, attention_type=attention, softmax_scale=options.softmax_scale)
    if options.keep_rope:
        model = restored(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    model.tie_weights()
    if options.from_adapter:
        adapters.apply(model, Path(options.from_adapter))
    return model


def _begin(
    options: Options, accelerator: Accelerator, parent: Checkpoint, windows: Windows, folder: Path
) -> tuple[Beginning, Loop]:
    """Build the student and its loop, and measure both models' held-out loss before the first step."""
    weights = {name: tensor.detach().clone() for name, tensor in parent.model.state_dict().items()}
    model = student_model(options, parent)
    trained = trainables.chosen(model, options.trainables, rank=options.lora_rank, seed=options.seed)
    precision = precision_for(options.precision, accelerator.device)
    for half in (model, parent.model):
        trainables.half_precision(half, precision)
    if options.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    student = Student(model.train(), parent.model if options.objective == "distill" else None, precision=precision)
    loop = Loop(
        options=options,
        accelerator=accelerator,
        student=student,
        trained=trained,
        optimizer=AdamW(trained.values(), lr=options.learning_rate, betas=BETAS, eps=1e-8, weight_decay=0.0),
        windows=windows,
        folder=folder,
        log=Log(folder / "log.csv", bins=-(-(options.length - 1) // 128)),
    )
    heldout = {"parent": bins_of(loop.heldout(parent.model))}
    return Beginning(options, parent, weights, model, heldout), loop


def precision_for(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of matrix products: as named, or bfloat16 where the device multiplies it natively."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _marks(shares: tuple[float, ...], steps: int) -> set[int]:
    """Return the steps after which a snapshot is kept."""
    return {max(round(share * steps), 1) for share in shares}


def _write_adapter(folder: Path, beginning: Beginning, loop: Loop) -> None:
    """Write what training has changed so far, with its recipe and log."""
    tensors = trainables.encoded(loop.trained, beginning.weights)
    adapters.save(folder, tensors, _recipe(beginning, loop))
    shutil.copyfile(loop.log.file, folder / "log.csv")


def _heldout_of_log(loop: Loop) -> dict[str, dict[str, float]]:
    """Return the held-out loss before the first step and after the last one that was measured."""
    rows = [row for row in read(loop.log.file) if row["heldout"]]
    names = [name for name in loop.log.columns if name.startswith("heldout")]
    ends = {"before": rows[0], "after": rows[-1]} if rows else {}
    return {when: {name: float(row[name]) for name in names} for when, row in ends.items()}


def _recipe(beginning: Beginning, loop: Loop) -> dict:
    options = beginning.options
    return recipes.recipe(
        options,
        source=beginning.parent.identity,
        corpus=recipes.corpus_summary(options.corpus, loop.windows),
        steps=loop.step,
        seconds=loop.seconds,
        device=recipes.device_name(loop.accelerator.device),
        attention="rope" if options.keep_rope else NORM_TYPES[options.qk_norm],
        heldout=beginning.heldout | _heldout_of_log(loop),
    )


def _finish(folder: Path, beginning: Beginning, loop: Loop) -> None:
    """Write the checkpoint with adapter, recipe and log, and give the folder its name."""
    options = beginning.options
    recipe = _recipe(beginning, loop)
    _write_adapter(folder / ADAPTER, beginning, loop)
    final = student_model(options, Checkpoint(_restored_parent(beginning), beginning.parent.tokenizer, {}))
    parameters = dict(final.named_parameters())
    for name, weight in trainables.merged(loop.trained, dict(final.state_dict())).items():
        parameters[name].data = weight
    final.save_pretrained(folder)
    beginning.parent.tokenizer.save_pretrained(folder)
    (folder / adapters.RECIPE).write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")
    for state in folder.glob("state-*"):
        shutil.rmtree(state)
    for file in (BEGUN, WINDOWS):
        (folder / file).unlink(missing_ok=True)
    folder.rename(options.destination)


def _restored_parent(beginning: Beginning) -> Any:
    """Return the parent with its float32 weights."""
    model = beginning.parent.model
    model.load_state_dict(beginning.weights, assign=True)
    model.tie_weights()
    return model
