"""A folder of safetensors -> a model that holds all of it; what its files say of precision and memory before that."""

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from dropeact.axes import InputError
from dropeact.checkpoints import memory
from dropeact.checkpoints.source import WEIGHTS
from dropeact.failures import lacks_memory

COMPUTED = "rotary_emb.inv_freq"  # what old files store of a rotation, and every model works out anew
TELLING = (OSError, ValueError, RuntimeError, ImportError, SafetensorError)
FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


def model_in(folder: Path, *, dtype: torch.dtype, device: str | torch.device, attention: str | None) -> PreTrainedModel:
    """Load the model of a folder, from its safetensors alone.

    Raises
    ------
    InputError
        When memory does not hold it, the files cannot be read, or model and files differ in a weight.
    """
    if str(device) == "cpu":
        _check_memory(folder, dtype)
    where = {} if str(device) == "cpu" else {"device_map": "auto" if device == "auto" else {"": device}}
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **where,
            )
    except Exception as error:  # transformers raises whatever a config that it does not know leads to
        if lacks_memory(error):
            raise InputError(
                f"expected memory for {folder} on {device}; got too little; use --dtype=bfloat16 or a larger device"
            ) from error
        _check_buildable(folder, attention)
        raise InputError(
            f"expected a readable checkpoint in {folder}; got {reason(error)}; copy it again, or save it as dense "
            "weights with a plain config"
        ) from error
    model, report = loaded
    _check_complete(model, report, folder)
    _check_head(model, folder)
    gc.collect()
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own warnings back for a while: what stops a checkpoint is said in one line."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_forward(model: PreTrainedModel, identifier: str) -> None:
    """Refuse a model that cannot read two tokens, or whose answer its weights keep from being a number.

    One that overflows, though its weights are numbers, is measured. Memory that is full is no fault of the model's.

    Raises
    ------
    InputError
        When the pass fails, or gives no finite logits and a weight is not finite, either.
    """
    tokens = torch.arange(2, device=model.device)[None]
    try:
        with torch.no_grad():
            logits = model(tokens, use_cache=False).logits
    except Exception as error:  # whatever parts that do not fit one another lead to
        if lacks_memory(error):
            raise
        raise InputError(
            f"expected a model that reads two tokens in {identifier}; got {reason(error)}; correct its config, or "
            "choose another checkpoint"
        ) from error
    if logits.isfinite().all():
        return
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            found = "NaN" if weight.isnan().any() else "infinity"
            raise InputError(
                f"expected finite weights in {identifier}; got {found} in {name}; copy it again, or choose another "
                "checkpoint"
            )


def is_spread(model: PreTrainedModel) -> bool:
    """Whether accelerate moves tensors between the devices that hold parts of a model."""
    return len(_places(model)) > 1


def precision(folder: Path) -> torch.dtype:
    """Return the narrowest type that holds every weight of a folder exactly; float32 where it has none in floats."""
    found = {dtype for _, dtype in _stored(folder) if dtype is not None}
    widest = found.pop() if found else torch.float32
    for dtype in found:
        widest = torch.promote_types(widest, dtype)
    return widest


def reason(error: Exception) -> str:
    """An error's first line, behind its kind where that alone makes it plain, and the second where it announces one."""
    lines = str(error).strip().splitlines() or [""]
    line = lines[0] if lines[0] and isinstance(error, TELLING) else f"{type(error).__name__} {lines[0]}".strip()
    return f"{line} {lines[1].strip().rstrip('.')}" if line.endswith(":") and len(lines) > 1 else line


def _stored(folder: Path) -> list[tuple[int, torch.dtype | None]]:
    """The size of every weight and its type, None where that is no float, by the headers alone."""
    found = []
    for file in sorted(folder.glob(WEIGHTS)):
        try:
            with safe_open(file, framework="pt") as tensors:
                slices = [tensors.get_slice(name) for name in tensors.keys()]  # noqa: SIM118 - no mapping
                found += [(math.prod(part.get_shape()), FLOATS.get(part.get_dtype())) for part in slices]
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"expected a readable checkpoint in {folder}; got {file.name}: {reason(error)}; copy it again"
            ) from error
    return found


def _check_memory(folder: Path, dtype: torch.dtype) -> None:
    """Refuse weights whose conversion would end the process; those used as they are stored are read from the disk."""
    stored = _stored(folder)
    if all(found == dtype for _, found in stored):
        return
    need, free = sum(count for count, _ in stored) * dtype.itemsize, memory.available(torch.device("cpu"))
    if free is not None and need > free:
        remedy = (
            "measure with --dtype=bfloat16, or on a larger machine" if dtype.itemsize > 2 else "use a larger machine"
        )
        raise InputError(
            f"expected {need / memory.GIB:.1f} GiB of free memory for {folder} in {str(dtype).removeprefix('torch.')}; "
            f"got {free / memory.GIB:.1f}; {remedy}"
        )


def _check_buildable(folder: Path, attention: str | None) -> None:
    """Refuse a config that transformers builds no model of, whatever the weights are."""
    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    except Exception as error:
        raise InputError(
            f"expected a config.json that transformers builds a model of in {folder}; got {reason(error)}; correct it"
        ) from error


def _check_complete(model: Any, report: dict, folder: Path) -> None:
    """Refuse a checkpoint that does not fill the model, or holds more than it, or is not all on its devices."""
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"expected all weights in {folder}; got none for {missing[0]} ({len(missing)} missing); copy it again"
        )
    if unknown := sorted(name for name in report["unexpected_keys"] if not name.endswith(COMPUTED)):
        raise InputError(
            f"expected a config that has a place for every weight in {folder}; got none for {unknown[0]} "
            f"({len(unknown)} such weights); correct config.json"
        )
    if is_spread(model) and (offloaded := _places(model) & {"cpu", "disk"}):  # weights that are read are not there
        raise InputError(
            f"expected devices that hold all of {folder}; got parts on the {min(offloaded)}; use --dtype=bfloat16, "
            "--device=cpu or more devices"
        )


def _check_head(model: Any, folder: Path) -> None:
    """Refuse an output matrix of its own where the config ties it to the embeddings: whatever ties again loses it."""
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    if model.config.tie_word_embeddings and head is not embedding and not torch.equal(head, embedding.to(head.device)):
        raise InputError(
            f"expected tied weights to be equal in {folder}; got another lm_head than the embeddings; set "
            "tie_word_embeddings to false in config.json"
        )


def _places(model: PreTrainedModel) -> set[str]:
    return {str(place) for place in getattr(model, "hf_device_map", {}).values()}
