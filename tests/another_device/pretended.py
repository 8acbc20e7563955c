"""Devices whose tensors lie on the CPU, say that they do not, and refuse to be mixed with others', as GPUs' do.

Importing this tells torch of a device named `pretend`, for the whole process: in a process of its own alone. There are
as many of them as are named: `pretend:0`, `pretend:1`, ...
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
CPU = torch.device("cpu")
_setup_privateuseone_for_python_backend(NAME)
ATEN: Any = torch.ops.aten
MOVES = (ATEN._to_copy.default, ATEN.copy_.default)
INDEXED = (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default)  # by indices on the CPU, too
MADE_OF_LISTS = (torch.tensor, torch.as_tensor, torch.asarray)
SETS_DATA = Tensor.data.__set__  # pyright: ignore[reportAttributeAccessIssue] - a property to type checkers
BY_INDEX = (Tensor.__getitem__, Tensor.__setitem__)


class Elsewhere(Tensor):
    """A tensor on one of the devices: what it holds is a tensor of the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, place: torch.device) -> "Elsewhere":
        layout: dict[str, Any] = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=place, **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(operation, args, kwargs or {})


@contextmanager
def pretending() -> Iterator[None]:
    """Let tensors be made on the devices and moved to them."""
    with _OutOfLists(), _Operations():
        yield


def computed(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute one operation on the CPU, and say that its result is on the device that its operands are on.

    Raises
    ------
    RuntimeError
        When some operands are on one device and some on another.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}
    _check_together(operation, args, tensors)
    if operation is ATEN._fused_sdp_choice.default:
        return 0  # attention in plain operations
    asked = kwargs.get("device")
    place = next((tensor.device for tensor in there.values()), CPU) if asked is None else numbered(asked)
    if operation is ATEN.copy_.default:
        place = args[0].device
    kwargs = kwargs if asked is None else kwargs | {"device": CPU}
    found = operation(*tree_map(_held, args), **tree_map(_held, kwargs))
    return found if place == CPU else tree_map(partial(_placed, there, place), found)


def numbered(device: Any) -> torch.device:
    """A device, the first one of its kind where it has no number."""
    named = torch.device(device)
    return named if named.type != NAME or named.index is not None else torch.device(NAME, 0)


def _check_together(operation: Any, args: Any, tensors: list[Tensor]) -> None:
    """Refuse operands of several devices; a number, an index or what is to be copied may come from the CPU."""
    operands = list(tensors)
    if operation in INDEXED:
        operands = [args[0], *(index for index in args[1] if isinstance(index, Elsewhere)), *args[2:3]]
    places = {operand.device for operand in operands if operand.dim() > 0 or isinstance(operand, Elsewhere)}
    if operation not in MOVES and len(places) > 1:
        named = ", ".join(sorted(map(str, places)))
        raise RuntimeError(f"expected all tensors on one device for {operation}; got some on each of {named}")


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Elsewhere) else leaf


def _placed(there: dict[int, Elsewhere], place: torch.device, leaf: Any) -> Any:
    """What came back, on the device; an operand that was changed in its place is itself."""
    if not isinstance(leaf, Tensor):
        return leaf
    return there[id(leaf)] if id(leaf) in there else Elsewhere(leaf, place)


class _Operations(TorchDispatchMode):
    """What makes tensors on a device from none that are there."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(operation, args, kwargs or {})


class _OutOfLists(TorchFunctionMode):
    """What torch does on the way between Python's lists or numbers and tensors, where no operation is seen."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in MADE_OF_LISTS and "device" in kwargs:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.tolist:
            return function(args[0].cpu())
        if function is Tensor.data_ptr:
            return function(_held(args[0]))
        if function == SETS_DATA and isinstance(args[0], Elsewhere):
            args[0].held = _held(args[1])
        if function in BY_INDEX:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.as_tensor(p) if isinstance(p, list | np.ndarray) else p for p in places)
            args = (args[0], places, *args[2:])
        return function(*args, **kwargs)
