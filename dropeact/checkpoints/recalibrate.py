"""Continued training of a dropped checkpoint: `Options` in, a checkpoint folder with adapter, recipe and log out.

Everything counts tokens, never the clock: the same options give the same weights, in one sitting or in many.
"""

import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from os.path import lexists
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor
from torch.optim import AdamW

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, recipes, trainables
from dropeact.checkpoints.drope import NORM_TYPES
from dropeact.checkpoints.dropping import dropped, restored
from dropeact.checkpoints.load import Checkpoint, load
from dropeact.checkpoints.log import Log, read
from dropeact.checkpoints.loop import Loop, bins_of
from dropeact.checkpoints.options import Options, check_places, unfinished
from dropeact.checkpoints.packing import Windows
from dropeact.checkpoints.preparation import alone, check_adapter, check_share, check_source
from dropeact.checkpoints.source import ADAPTER
from dropeact.checkpoints.training import Student
from dropeact.checkpoints.windows import BEGUN, WINDOWS, corpus_begun_with, windows_for

SHIPPED = "adapter"
SNAPSHOTS = "snapshots"
# the published run configurations (github.com/SakanaAI/DroPE): no weight decay; the paper's table says otherwise
BETAS = (0.9, 0.999)
PATIENT = InitProcessGroupKwargs(timeout=timedelta(days=1))  # others wait while one packs the corpus or writes


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
        When the destination exists, the source has no rotation, the corpus is too small, memory will not suffice, or
        another process makes the same checkpoint.
    """
    check_places(options)
    # without `cpu`, accelerate takes each process that torchrun starts on CPUs for the only one
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=[PATIENT])
    check_source(options, accelerator.device)
    check_share(options, accelerator.num_processes)
    parent = load(options.source, device=accelerator.device)
    if options.from_adapter:
        check_adapter(options, parent)
    folder = unfinished(options.destination)
    with alone(folder) if accelerator.is_main_process else nullcontext():
        _train(options, accelerator, parent, folder)
        accelerator.wait_for_everyone()
    return Path(options.destination)


def _train(options: Options, accelerator: Accelerator, parent: Checkpoint, folder: Path) -> None:
    """Train from the first step, or the newest state, to the end, and give the folder its name."""
    check_places(options)  # again: another process may just have ended
    with accelerator.main_process_first():
        windows = windows_for(options, parent, folder)
    beginning, loop = _begin(options, accelerator, parent, windows, folder)
    for step in loop.train():
        if accelerator.is_main_process and loop.steps and step in _marks(options.snapshots, loop.steps):
            _write_adapter(folder / SNAPSHOTS / f"{loop.tokens:012d}", beginning, loop)
    if accelerator.is_main_process:
        _finish(folder, beginning, loop)


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
        adapters.apply(model, adapters.folder_of(options.from_adapter))
    return model


def _begin(
    options: Options, accelerator: Accelerator, parent: Checkpoint, windows: Windows, folder: Path
) -> tuple[Beginning, Loop]:
    """Build the student and its loop, and measure both models' held-out loss before the first step."""
    weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in parent.model.state_dict().items()}
    model = student_model(options, parent)
    trained = trainables.chosen(model, options.trainables, rank=options.lora_rank, seed=options.seed)
    precision = trainables.precision_for(options.precision, accelerator.device)
    for half in (model, parent.model):
        trainables.half_precision(half, precision)
    if options.checkpointing:
        # the new name, where transformers has it
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
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


def _marks(shares: tuple[float, ...], steps: int) -> set[int]:
    """Return the steps after which a snapshot is kept."""
    return {max(round(share * steps), 1) for share in shares}


def _write_adapter(folder: Path, beginning: Beginning, loop: Loop) -> None:
    """Write what training has changed so far, with its recipe and log."""
    earlier = beginning.options.from_adapter
    before = adapters.tensors_of(adapters.folder_of(earlier)) if earlier else {}
    tensors = trainables.encoded(loop.trained, beginning.weights, before=before)
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
        corpus=corpus_begun_with(loop.folder)
        | {"training_windows": len(loop.windows.training), "heldout_windows": len(loop.windows.heldout)},
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
    _write_adapter(folder / SHIPPED, beginning, loop)
    final = student_model(options, Checkpoint(_restored_parent(beginning), beginning.parent.tokenizer, {}))
    parameters = dict(final.named_parameters())
    for name, weight in trainables.merged(loop.trained, dict(final.state_dict())).items():
        parameters[name].data = weight
    final.save_pretrained(folder)
    beginning.parent.tokenizer.save_pretrained(folder)
    (folder / adapters.RECIPE).write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")
    destination = _renamed(folder, Path(options.destination))
    for state in destination.glob("state-*"):
        shutil.rmtree(state)
    for file in (BEGUN, WINDOWS):
        (destination / file).unlink(missing_ok=True)


def _renamed(folder: Path, destination: Path) -> Path:
    """Give the run's folder its name, with all it needs to go on still in it."""
    if lexists(destination):
        raise InputError(
            f"expected {destination} not to exist, as when the run began; got something there; move it away and give "
            f"the same command again, which keeps {folder}"
        )
    return folder.rename(destination)


def _restored_parent(beginning: Beginning) -> Any:
    """Return the parent with its float32 weights."""
    model = beginning.parent.model
    model.load_state_dict(beginning.weights, assign=True)
    model.tie_weights()
    return model


def snapshots(run: Path) -> dict[int, Path]:
    """Return a run's kept snapshots by token count: each folder is itself an identifier that can be loaded."""
    folders = sorted(run.glob(f"{SNAPSHOTS}/*/{ADAPTER}"))
    return {int(file.parent.name): file.parent for file in folders}
