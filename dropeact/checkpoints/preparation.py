"""What is checked before the first step: the batch, the source, the adapter, memory, and that no other run is at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, memory
from dropeact.checkpoints.drope import NORM_TYPES
from dropeact.checkpoints.identity import attention_of, softmax_scale_of
from dropeact.checkpoints.load import Checkpoint, dense
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.source import checked_config, recipe_of, source
from dropeact.checkpoints.trainables import precision_for


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
