"""A cache that is written behind what it holds: short continuations of long texts cost no copy of the texts."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, DynamicLayer

FOLLOWING = 64  # columns for what is tried after a text: another question, a candidate, an answer

Heads = Float[Tensor, "_ kv_head _ head_dim"]  # of any number of rows and columns


class GrowingCache(DynamicCache):
    """A cache that is whole at every layer: one that keeps a window's keys alone takes nothing back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = GrowingLayer


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, as views of tensors with `FOLLOWING` columns to spare.

    What is cropped is overwritten by what is read next; nothing that a forward pass was given earlier is kept by it.
    """

    keys: Tensor
    values: Tensor

    def lazy_initialization(self, key_states: Heads, value_states: Heads) -> None:
        """Begin with no columns."""
        super().lazy_initialization(key_states, value_states)
        self.keys = self.key_room = key_states[:, :, :0]
        self.values = self.value_room = value_states[:, :, :0]

    def update(self, key_states: Heads, value_states: Heads, *_args: Any, **_kwargs: Any) -> tuple[Heads, Heads]:
        """Add columns; every key and every value that the layer now holds."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.key_room = with_room(self.key_room, self.keys, key_states.shape[2])
        self.value_room = with_room(self.value_room, self.values, value_states.shape[2])
        self.keys = written_behind(self.key_room, self.keys, key_states)
        self.values = written_behind(self.value_room, self.values, value_states)
        return self.keys, self.values


def with_room(room: Heads, held: Heads, columns: int) -> Heads:
    """`room` where it begins with what is held and has as many columns left; else a larger copy of what is held."""
    rows, kv_heads, width, head_dim = held.shape
    if len(room) == rows and room.data_ptr() == held.data_ptr() and room.shape[2] >= width + columns:
        return room
    larger = torch.empty(rows, kv_heads, width + columns + FOLLOWING, head_dim, dtype=held.dtype, device=held.device)
    larger[:, :, :width] = held
    return larger


def written_behind(room: Heads, held: Heads, more: Heads) -> Heads:
    """What is held and what comes, in the room that begins with the former."""
    end = held.shape[2] + more.shape[2]
    room[:, :, held.shape[2] : end] = more
    return room[:, :, :end]
