"""Readings -> one probed forward pass -> their results, stacked over layers; nothing larger than a reading is kept."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from dropeact.probes.architectures import blocks_of
from dropeact.probes.attention import attending
from dropeact.probes.residual import (
    Added,
    Projected,
    listening_to_additions,
    listening_to_projections,
    listening_to_stream,
)
from dropeact.probes.rows import Attended, Rows

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class Readings:
    """What to read, by the place where it is read. A reading turns what is there into named, small tensors.

    `attended` and `projected` are read once per layer, `stream` once per depth; `rows` once per block of queries, and
    what it names (batch, head, rows or 1, ...) is joined along the third dimension. `first_key` gets the weights
    (batch, head, query) on key 0, joined likewise: without `rows` they cost next to nothing. `outputs` gets what the
    heads give, `added` what a block adds to the stream.
    """

    attended: tuple[Callable[[Attended], Named], ...] = ()
    rows: tuple[Callable[[Rows], Named], ...] = ()
    first_key: tuple[Callable[[Float[Tensor, "batch head query"]], Named], ...] = ()
    outputs: tuple[Callable[[Attended, Float[Tensor, "batch head query value_dim"]], Named], ...] = ()
    projected: tuple[Callable[[Projected], Named], ...] = ()
    added: tuple[Callable[[Added], Named], ...] = ()
    stream: tuple[Callable[[Float[Tensor, "batch token hidden"]], Named], ...] = ()

    def __add__(self, other: "Readings") -> "Readings":
        """Both, each reading once: phenomena share some."""
        joined = {f.name: (*getattr(self, f.name), *getattr(other, f.name)) for f in fields(self)}
        return Readings(**{name: tuple(dict.fromkeys(readings)) for name, readings in joined.items()})


@dataclass
class Seen:
    """What the readings of the last forward pass gave."""

    values: dict[str, dict[int, list[Tensor]]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        """One named result, [layer or depth, batch, ...], on the CPU."""
        by_layer = self.values[name]
        return torch.stack([_joined(by_layer[layer]) for layer in sorted(by_layer)])

    def keep(self, layer: int, named: Named, *, append: bool = False) -> None:
        """Keep the results of one reading; `append` joins them to what the layer gave before."""
        for name, value in named.items():
            kept = self.values.setdefault(name, {})
            kept[layer] = [*kept.get(layer, []), value] if append else [value]


def _joined(parts: list[Tensor]) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)).cpu()


class _Observer:
    """Attention's observer: readings of whole layers and of rows."""

    def __init__(self, model: PreTrainedModel, readings: Readings, seen: Seen) -> None:
        self.layers = {id(block.attention): block.layer for block in blocks_of(model)}
        self.readings, self.seen = readings, seen
        self.wants_rows, self.wants_first_key = bool(readings.rows), bool(readings.first_key)

    def attended(self, attended: Attended) -> None:
        layer = self.layers[id(attended.module)]
        for read in self.readings.attended:
            self.seen.keep(layer, read(attended))

    def rows(self, module: nn.Module, rows: Rows) -> None:
        for read in self.readings.rows:
            self.seen.keep(self.layers[id(module)], read(rows), append=rows.first > 0)

    def first_key(self, module: nn.Module, first: int, weight: Tensor) -> None:
        for read in self.readings.first_key:
            self.seen.keep(self.layers[id(module)], read(weight), append=first > 0)

    def outputs(self, attended: Attended, output: Tensor) -> None:
        for read in self.readings.outputs:
            self.seen.keep(self.layers[id(attended.module)], read(attended, output))


@contextmanager
def probing(model: PreTrainedModel, readings: Readings) -> Iterator[Seen]:
    """Read along each forward pass inside; the outputs of the model stay what they are without it.

    Call the model with `use_cache=False` and whole texts. Afterwards no hook is left and the attention implementation
    is the one from before.

    Raises
    ------
    InputError
        When the architecture is not one that the probes are tested on.
    """
    seen = Seen()
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(attending(model, observer=_Observer(model, readings, seen)))
        if readings.projected:
            stack.enter_context(listening_to_projections(model, _hearer(seen, readings.projected)))
        if readings.added:
            stack.enter_context(listening_to_additions(model, _hearer(seen, readings.added)))
        if readings.stream:
            stack.enter_context(listening_to_stream(model, _hearer(seen, readings.stream)))
        yield seen


def _hearer(seen: Seen, readings: tuple[Callable, ...]) -> Callable[[int, object], None]:
    def hear(index: int, value: object) -> None:
        for read in readings:
            seen.keep(index, read(value))

    return hear
