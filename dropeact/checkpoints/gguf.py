"""GGUF file -> a folder of dense float32 safetensors with its tokenizer, made once and kept in the cache."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from dropeact.axes import InputError
from dropeact.checkpoints import memory
from dropeact.checkpoints.cache import cache_folder, made_once, sha256_of

ARCHITECTURES = ("llama", "qwen2", "qwen3")  # those that tests read back; transformers maps names of more
SIZES = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
}
FACTORS = ("rope.scaling.factor", "rope.scale_linear")  # of a linear stretch, by its name now and by the old one


def dense_folder(sha256: str) -> Path:
    """Name the cached folder that holds the dense weights of the GGUF file with this hash."""
    return cache_folder() / "dense" / sha256[:20]


def dequantised(gguf: Path) -> Path:
    """Return the folder of dense weights of a GGUF file, dequantising it the first time."""
    return made_once(dense_folder(sha256_of(gguf)), lambda folder: dequantise(gguf, folder))


def dequantise(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's weights as float32 safetensors into `folder`, with config and tokenizer.

    Raises
    ------
    InputError
        When the file cannot be read as a GGUF of a supported architecture, lacks its tokenizer or a weight, or memory
        does not hold its weights in float32.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": gguf.name, "local_files_only": True}
    _, read = _checked(gguf)
    _check_memory(read, gguf)
    try:
        with tempfile.TemporaryDirectory() as alone:  # transformers would read a config or an adapter beside the file
            (Path(alone) / gguf.name).symlink_to(gguf.resolve())
            tokenizer = AutoTokenizer.from_pretrained(alone, **where)
            options = {"dtype": "float32", "output_loading_info": True} | where
            loaded: Any = AutoModelForCausalLM.from_pretrained(alone, **options)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"expected a whole GGUF file with its tokenizer; got {gguf}: {reason}; export it again"
        ) from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # transformers draws them at random
        raise InputError(
            f"expected all weights in {gguf}; got none for {missing[0]} ({len(missing)} missing); copy it again, or "
            "merge its parts into one file"
        )
    vars(model.config).pop("quantization_config", None)
    vars(model).pop("hf_quantizer", None)
    model.config._name_or_path = ""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def architecture(gguf: Path) -> str:
    """Name a GGUF file's architecture as transformers does.

    Raises
    ------
    InputError
        When it is damaged or empty, or its architecture or its rotation is not read from GGUF.
    """
    return _checked(gguf)[0]


def _checked(gguf: Path) -> tuple[str, Any]:
    """A file's architecture and its header, refused where its weights would not be those of the model."""
    read = _read(gguf)
    name = str(_value(read, "general.architecture", "none"))
    if name not in ARCHITECTURES:
        raise InputError(
            f"expected a GGUF file of {', '.join(ARCHITECTURES)}; got {name} in {gguf}; use its safetensors"
        )
    if not read.tensors:
        raise InputError(f"expected weights in {gguf}; got none; copy it again, or merge its parts into one file")
    _check_rotation(read, name, gguf)
    return name, read


def shape(gguf: Path) -> dict[str, Any]:
    """Return the sizes that a GGUF file's header gives, by the names of a config.

    Raises
    ------
    InputError
        When it is damaged, or of an architecture that is not read from GGUF.
    """
    name, read = _checked(gguf)
    sizes = {field: _value(read, f"{name}.{key}", None) for field, key in SIZES.items()}
    shapes = {tensor.name: tensor.shape.tolist() for tensor in read.tensors}
    hidden_and_vocabulary = shapes.get("token_embd.weight", [0, 0])
    return sizes | {"vocab_size": hidden_and_vocabulary[1], "tie_word_embeddings": "output.weight" not in shapes}


def _check_memory(read: Any, gguf: Path) -> None:
    """Refuse weights whose dequantisation would end the process."""
    need = memory.FLOAT * sum(int(tensor.n_elements) for tensor in read.tensors)
    free = memory.available(torch.device("cpu"))
    if free is not None and need > free:
        raise InputError(
            f"expected {need / memory.GIB:.1f} GiB of free memory to dequantise {gguf}; got {free / memory.GIB:.1f}; "
            "use a larger machine, or its safetensors"
        )


def _check_rotation(read: Any, name: str, gguf: Path) -> None:
    """Refuse stretched frequencies: transformers leaves them out when it reads a GGUF file."""
    kind = _value(read, f"{name}.rope.scaling.type", None)
    if kind is None:  # what names a factor alone is stretched linearly
        stretched = [key for key in FACTORS if _value(read, f"{name}.{key}", 1) not in (0, 1)]
        kind = stretched[0] if stretched else "none"
    kind = "rope_freqs.weight" if any(tensor.name == "rope_freqs.weight" for tensor in read.tensors) else kind
    if kind != "none":
        raise InputError(
            f"expected a GGUF file with plain rotation; got scaled frequencies ({kind}) in {gguf}; use its safetensors"
        )


def _value(read: Any, key: str, default: object) -> Any:
    field = read.get_field(key)
    return field.contents() if field else default


def quantization(gguf: Path) -> str:
    """Name a GGUF file's quantisation: the type that most of its weights have."""
    import numpy as np

    sizes: dict[str, int] = {}
    for tensor in _read(gguf).tensors:
        sizes[tensor.tensor_type.name] = sizes.get(tensor.tensor_type.name, 0) + int(np.prod(tensor.shape))
    return max(sizes, key=lambda name: sizes[name])


def _read(gguf: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(gguf)
    except Exception as error:  # the reader raises whatever numpy does on a file that ends early
        raise InputError(f"expected a whole GGUF file; got {gguf}, which is damaged; copy it again") from error
