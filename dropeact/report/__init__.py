"""Verdicts + measurements -> FINDINGS.md, figures and tables, from stored results alone; no model, no torch.

`write` renders a folder of results: `FINDINGS.md`, `verdicts.json`, `records.csv` and `figures/`.
"""

from collections.abc import Sequence
from pathlib import Path

from dropeact import bundled, published
from dropeact.audit import audit
from dropeact.report.audit_figure import audit_figure
from dropeact.report.figures import draw
from dropeact.report.render import findings
from dropeact.store import Store, write_text
from dropeact.verdicts import Record, expected, judge
from dropeact.verdicts.records import as_csv, as_json


def write(directory: Path, *, records: Sequence[Record] | None = None, output: Path | None = None) -> Path:
    """Write FINDINGS.md of the results in `directory`, and what it links to; return where it is.

    The accepted results of a source checkout are reported in the repository's own FINDINGS.md; any other folder has
    its report inside. The same results give the same bytes.
    """
    store = Store(directory)
    run = store.read_run()
    lock = expected.load(run["pair"]["name"])
    judged = list(records) if records is not None else judge(directory, families=lock.families)
    target = output or default_output(directory)
    folder = (
        directory / "figures" if target.suffix == ".md" and _inside(directory, target) else target.parent / "figures"
    )
    figures = draw(store, run, folder)
    audited = audit(published.path("audit.toml"), published.path("evidence.json"))
    audit_figure(audited, folder / "audit.svg")
    write_text(directory / "verdicts.json", as_json(judged, provenance(run)))
    write_text(directory / "records.csv", as_csv(judged))
    write_text(target, findings(store, run, judged, figures, audited, target))
    return target


def default_output(directory: Path) -> Path:
    """The repository's FINDINGS.md for accepted results of a checkout, else FINDINGS.md in the folder itself."""
    results = bundled.folder("results")
    accepted = results.resolve() in directory.resolve().parents
    if accepted and (results.parent / "pyproject.toml").is_file() and results.parent.name != "_bundled":
        return results.parent / "FINDINGS.md"
    return Path("FINDINGS.md") if accepted else directory / "FINDINGS.md"


def provenance(run: dict) -> dict:
    """The part of run.json that verdicts.json repeats."""
    return {key: value for key, value in run.items() if key != "schema"}


def _inside(directory: Path, target: Path) -> bool:
    """Whether figures beside the results can be linked from the report by a short relative path."""
    return target.parent.resolve() in (directory.resolve(), *directory.resolve().parents)
