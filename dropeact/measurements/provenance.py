"""How numbers came about: the device, the versions of what computes, the sources and thresholds that they depend on."""

import ast
import hashlib
import inspect
import io
import os
import platform
import tokenize
from functools import cache
from types import ModuleType

import numpy as np
import torch
import transformers

import dropeact
from dropeact import axes

DESCRIBED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DECLARED = sorted(name for name in vars(axes) if name.isupper())


def default_device() -> str:
    """The best at hand: cuda (each process of a machine its own), else mps, else cpu."""
    if torch.cuda.is_available():
        local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", ""))
        return f"cuda:{int(local) % torch.cuda.device_count()}" if local.isdecimal() else "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: str) -> str:
    """The kind of device, without a host name; a model spread over several is named by the first."""
    if device == "auto":
        device = default_device()
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{device} ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "dropeact": dropeact.__version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def source_hash(*modules: ModuleType) -> str:
    """Versions and hash of the code of a measurement's own modules: a changed measurement is measured again.

    The thresholds and lengths of `axes` that a module uses are part of it; its other words, comments and docstrings
    are not.
    """
    sources = "".join(computing(inspect.getsource(module)) for module in modules)
    used = {name: getattr(module, name) for module in modules for name in DECLARED if hasattr(module, name)}
    version = ".".join(str(getattr(module, "VERSION", 1)) for module in modules)
    return f"{version}-{hashlib.sha256((sources + repr(used)).encode()).hexdigest()[:12]}"


@cache
def computing(source: str) -> str:
    """The lines of a module that compute: all but its comments and docstrings, the same under every Python."""
    lines: list[str | None] = [*source.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = token.line[:column].rstrip() or None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DESCRIBED) and ast.get_docstring(node, clean=False) is not None:
            told = node.body[0]
            for row in range(told.lineno, (told.end_lineno or told.lineno) + 1):
                lines[row - 1] = None
    return "\n".join(line for line in lines if line is not None)
