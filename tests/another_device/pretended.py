"""A device whose tensors lie on the CPU, say that they do not, and refuse to be mixed with those that do, as a GPU's.

Importing this tells torch of a device named `pretend`, for the whole process: in a process of its own alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
_setup_privateuseone_for_python_backend(NAME)
ATEN: Any = torch.ops.aten
MOVES = (ATEN._to_copy.default, ATEN.copy_.default)
INDEXED = (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default)  # by indices on the CPU, too
MADE_OF_LISTS = (torch.tensor, torch.as_tensor, torch.asarray)
BY_INDEX = (Tensor.__getitem__, Tensor.__setitem__)


class Elsewhere(Tensor):
    """A tensor on the device: what it holds is a tensor of the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        layout: dict[str, Any] = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=torch.device(NAME, 0), **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(operation, args, kwargs or {})


@contextmanager
def pretending() -> Iterator[None]:
    """Let tensors be made on the device and moved to it."""
    with _OutOfLists(), _Operations():
        yield


def computed(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute one operation on the CPU, and say that its result is on the device that its operands are on.

    Raises
    ------
    RuntimeError
        When some operands are on the one and some on the other.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}
    _check_together(operation, args, tensors)
    if operation is ATEN._fused_sdp_choice.default:
        return 0  # attention in plain operations
    asked = kwargs.get("device")
    stays = bool(here) if asked is None else torch.device(asked).type == NAME
    if operation is ATEN.copy_.default:
        stays = isinstance(args[0], Elsewhere)
    kwargs = kwargs if asked is None else kwargs | {"device": torch.device("cpu")}
    found = operation(*tree_map(_held, args), **tree_map(_held, kwargs))
    return tree_map(partial(_placed, here), found) if stays else found


def _check_together(operation: Any, args: Any, tensors: list[Tensor]) -> None:
    """Refuse operands of both; a number, an index or what is to be copied may come from the CPU."""
    sizes = [tensor for tensor in tensors if tensor.dim() > 0]
    if operation in INDEXED and not any(isinstance(index, Elsewhere) for index in args[1]):
        sizes = [tensor for tensor in (args[0], *args[2:3]) if isinstance(tensor, Tensor) and tensor.dim() > 0]
    if operation not in MOVES and len({isinstance(tensor, Elsewhere) for tensor in sizes}) > 1:
        raise RuntimeError(f"expected all tensors on one device for {operation}; got some on {NAME}, some on the CPU")


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Elsewhere) else leaf


def _placed(here: dict[int, Elsewhere], leaf: Any) -> Any:
    """What came back, on the device; an operand that was changed in its place is itself."""
    if not isinstance(leaf, Tensor):
        return leaf
    return here[id(leaf)] if id(leaf) in here else Elsewhere(leaf)


class _Operations(TorchDispatchMode):
    """What makes tensors on the device from none that are there."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(operation, args, kwargs or {})


class _OutOfLists(TorchFunctionMode):
    """What torch does on the way between Python's lists and tensors, where no operation is seen."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in MADE_OF_LISTS and "device" in kwargs:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.tolist:
            return function(args[0].cpu())
        if function in BY_INDEX:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.as_tensor(p) if isinstance(p, list | np.ndarray) else p for p in places)
            args = (args[0], places, *args[2:])
        return function(*args, **kwargs)
