"""Measurements, records and audit -> every figure of the report, painted into a folder where it is not there yet."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dropeact.audit import Finding
from dropeact.measured import Measured
from dropeact.report import (
    ablation_figures,
    knowledge_figures,
    observe_figures,
    retrieval_figures,
    sensitivity,
)
from dropeact.report.audit_figure import audit_figure
from dropeact.report.drawing import Figure, draw_stored
from dropeact.report.figures import draw
from dropeact.report.overview_figure import overview_figure
from dropeact.report.trajectory_figure import trajectory_figure
from dropeact.verdicts import Record
from dropeact.verdicts.robustness import Strip


class Gallery(NamedTuple):
    """The figures of a report: of all records, of the experiments, along thresholds, and of the audit."""

    overview: Figure | None
    experiments: list[Figure]
    curves: Figure | None
    audit: Figure

    @property
    def every(self) -> list[Figure]:
        """All figures in the order of the report."""
        return [figure for figure in (self.overview, *self.experiments, self.curves, self.audit) if figure]


def gallery(
    measured: Measured,
    records: Sequence[Record],
    strips: Mapping[str, Strip],
    audited: Sequence[Finding],
    folder: Path,
    *,
    replace: bool,
    painted: Callable[[], bool] = lambda: False,
) -> Gallery:
    """Every figure of the report, painted where it is missing or to be replaced.

    `painted` says, once nothing else is left to paint, whether another process has painted those of the experiments.
    """
    overview = overview_figure(records, folder, replace=replace)
    curves = sensitivity.sensitivity_figure(strips, folder, replace=replace)
    audit = of_audit(audited, folder, replace=replace)
    there = painted()
    return Gallery(overview, of_experiments(measured, folder, replace=replace and not there), curves, audit)


def of_experiments(measured: Measured, folder: Path, *, replace: bool) -> list[Figure]:
    """The figures of what is stored, each with its experiment."""
    figures = draw(measured, folder, replace=replace)
    for further in (observe_figures, knowledge_figures, retrieval_figures, ablation_figures):
        figures += draw_stored(further.DRAWINGS, measured, folder, replace=replace)
    grown = trajectory_figure(measured.store.directory, folder, replace=replace)
    return [*figures, grown] if grown else figures


def of_audit(audited: Sequence[Finding], folder: Path, *, replace: bool) -> Figure:
    """Printed against recomputed figures."""
    figure = Figure(folder / "audit.svg", "Printed against recomputed figures", "", "")
    if replace or not figure.path.is_file():
        audit_figure(audited, figure.path)
    return figure
