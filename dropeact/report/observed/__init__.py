"""Stored measurements of one pair -> small tables of the report, one file a phenomenon; the unmeasured is left out."""

from dropeact.measured import Measured
from dropeact.report.observed import activations, answers, balance, overlaps, patterns, sinks, writes
from dropeact.report.observed.floor import Noise, floors, noise
from dropeact.report.observed.table import Table

__all__ = ["Noise", "Table", "floors", "noise", "tables"]


def tables(measured: Measured) -> dict[str, list[Table]]:
    """Every table whose measurements are stored, by experiment."""
    made = [
        overlaps.overlaps(measured),
        overlaps.inequality(measured),
        sinks.conventions(measured),
        sinks.first_tokens(measured),
        sinks.valley(measured),
        writes.writes(measured),
        patterns.classes(measured),
        patterns.patterns(measured),
        *balance.at_write(measured),
        *balance.over_layers(measured),
        activations.activations(measured),
        answers.accuracies(measured),
        answers.found(measured),
        answers.halves(measured),
    ]
    found: dict[str, list[Table]] = {}
    for table in filter(None, made):
        found.setdefault(table.experiment, []).append(table)
    return found
