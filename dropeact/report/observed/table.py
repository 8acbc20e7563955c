"""Quantities of the stored models -> one small table of the report: a row a quantity, a column a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import xarray as xr

from dropeact.estimators.contrasts import mean_and_half_width
from dropeact.measured import Measured, MissingMeasurement, Model
from dropeact.report.words import NAMES, number

NONE = "—"
INTERVAL = "Mean over texts ± half the 95 % interval."

Quantity = Callable[[Model], str]


class Table(NamedTuple):
    """A table as it is printed: where it belongs, what it says, and its cells."""

    experiment: str
    title: str
    caption: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def by_model(
    measured: Measured, experiment: str, title: str, caption: str, quantities: Mapping[str, Quantity]
) -> Table | None:
    """Every quantity of every model; None where nothing of it is stored."""
    models = measured.columns
    rows = [(label, [cell(quantity, model) for model in models]) for label, quantity in quantities.items()]
    return trimmed(Table(experiment, title, caption, [NAMES[model.name] for model in models], rows))


def of_rows(
    experiment: str, title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> Table | None:
    """Rows whose first cell is their label; None where there is no row."""
    return Table(experiment, title, caption, list(columns), [(row[0], list(row[1:])) for row in rows]) if rows else None


def cell(quantity: Quantity, model: Model) -> str:
    """A quantity of a model, a dash where its measurement is not stored."""
    try:
        return quantity(model)
    except (MissingMeasurement, KeyError):  # an earlier version's results lack a cell or a variable
        return NONE


def trimmed(table: Table) -> Table | None:
    """The table without rows and columns that hold nothing; None where nothing is left."""
    rows = [(label, cells) for label, cells in table.rows if set(cells) != {NONE}]
    kept = [i for i in range(len(table.columns)) if any(cells[i] != NONE for _, cells in rows)]
    if not kept:
        return None
    return table._replace(
        columns=[table.columns[i] for i in kept], rows=[(label, [cells[i] for i in kept]) for label, cells in rows]
    )


def per_text(values: Callable[[Model], xr.DataArray]) -> Quantity:
    """A quantity that every text has: its mean and interval."""
    return lambda model: spread(values(model))


def spread(values: xr.DataArray) -> str:
    """Mean over texts ± half the 95 % interval, and of how many texts where some have no such number."""
    known = values.astype(float).dropna("text")
    n, texts = known.sizes["text"], values.sizes["text"]
    if n == 0:
        return NONE
    mean, half = (float(value) for value in mean_and_half_width(known))
    shown = f"{number(mean)} ± {number(half)}" if n > 1 else number(mean)
    return shown if n == texts else f"{shown} ({n} of {texts} texts)"


def written(measured: Measured) -> str:
    """The write layer in brackets; nothing where it is not known."""
    try:
        layers = sorted(set(measured.write_layers.values()))
    except (MissingMeasurement, KeyError):
        return ""
    return f" (layer {' or '.join(map(str, layers))})"


def over(values: xr.DataArray) -> str:
    """Mean over layers, the smallest and the largest of them, and of how many where some have no such number."""
    known = values.astype(float).dropna("layer")
    n, layers = known.sizes["layer"], values.sizes["layer"]
    if n == 0:
        return NONE
    mean, low, high = (number(float(value)) for value in (known.mean(), known.min(), known.max()))
    return f"{mean} ({low} to {high}{'' if n == layers else f'; {n} of {layers} layers'})"
