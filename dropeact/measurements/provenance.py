"""How numbers came about: the device, the versions of what computes, the sources and thresholds that they depend on."""

import hashlib
import inspect
import os
import platform
from types import ModuleType

import numpy as np
import torch
import transformers

import dropeact
from dropeact import axes

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
    """Versions and content hash of a measurement's own modules: a changed measurement is measured again.

    The thresholds and lengths of `axes` that a module uses are part of it, its other words are not.
    """
    sources = "".join(inspect.getsource(module) for module in modules)
    used = {name: getattr(module, name) for module in modules for name in DECLARED if hasattr(module, name)}
    version = ".".join(str(getattr(module, "VERSION", 1)) for module in modules)
    return f"{version}-{hashlib.sha256((sources + repr(used)).encode()).hexdigest()[:12]}"
