"""A folder of results -> `FINDINGS.md`, `verdicts.json`, `records.csv` and `figures/`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropeact import bundled, pairs, published
from dropeact.audit import audit
from dropeact.axes import InputError
from dropeact.files import write_text
from dropeact.measured import Measured, of_run
from dropeact.report import observed
from dropeact.report.gallery import gallery
from dropeact.report.painting import painting
from dropeact.report.render import contents, findings, relative
from dropeact.report.tables import complete
from dropeact.run_file import check_ended
from dropeact.store import Store
from dropeact.verdicts import Record, expected, judge, load_claims, robustness
from dropeact.verdicts.records import as_csv, as_json, read_verdicts


def write(
    directory: Path,
    *,
    records: Sequence[Record] | None = None,
    output: Path | None = None,
    replace: bool | None = None,
    processes: int = 1,
) -> Path:
    """Write FINDINGS.md of the results in `directory`, and what it links to; return where it is.

    The accepted results of the default pair in a source checkout are reported in the repository's own FINDINGS.md; any
    other folder has its report inside. `replace` says whether verdicts and figures that are there are written again: by
    default always, except in accepted results, which only `accept` changes. The same results give the same bytes.
    """
    store = Store(directory)
    run = store.read_run()
    check_ended(run, directory)
    replace = not bundled.is_accepted(directory) if replace is None else replace
    target = output or default_output(directory)
    folder = figure_folder(directory, target)
    with painting(directory, folder, replace=replace, processes=processes) as painted:
        families = expected.load(run["pair"]["name"]).families
        judged = list(records) if records is not None else judge(directory, families=families)
        audited = audit(published.path("audit.toml"), published.path("evidence.json"))
        with complete(directory):
            measured = of_run(store, run)
            strips = robustness.strips(measured, load_claims())
            drawn = gallery(measured, judged, strips, audited, folder, replace=replace, painted=painted)
    with complete(directory):
        shown = contents(measured, run, judged, audited, strips, drawn, lambda figure: relative(figure.path, target))
        text = findings(shown)
        if replace and (output is None or os.access(directory, os.W_OK)):  # of what is only read, the report alone
            write_text(directory / "verdicts.json", as_json(judged, provenance(measured, run)))
            write_text(directory / "records.csv", as_csv(judged))
    write_text(target, text)
    return target


def forgotten(directory: Path) -> str:
    """A line about the claims whose records verdicts.json holds and the next report leaves out, or an empty text.

    Nobody registers them: they are a user's own, of a file that was not named this time.
    """
    file = directory / "verdicts.json"
    if bundled.is_accepted(directory) or not file.is_file():
        return ""
    try:
        held = {record.id for record in read_verdicts(file)[0]}
    except InputError:
        return ""  # the report writes it anew
    if not (lost := sorted(held - load_claims().keys())):
        return ""
    return (
        f"dropeact: expected the claims that {file} held; got none for {', '.join(lost)}; "
        "give --claims=FILE and report again to have their records back"
    )


def default_output(directory: Path) -> Path:
    """Where the report goes: of the default pair's accepted results, the repository's own; else into the folder itself.

    An installed package keeps its results as they are: their report goes into the working directory.
    """
    if not bundled.is_accepted(directory):
        return directory / "FINDINGS.md"
    home = bundled.folder("results").parent
    if home.name == "_bundled" or not (home / "pyproject.toml").is_file():
        return Path("FINDINGS.md")
    return (home if directory.resolve().name == pairs.DEFAULT else directory) / "FINDINGS.md"


def figure_folder(directory: Path, target: Path) -> Path:
    """Beside the results where the report can link there by a short relative path, else beside the report."""
    near = target.parent.resolve() in (directory.resolve(), *directory.resolve().parents)
    return directory / "figures" if near else target.parent / "figures"


def provenance(measured: Measured, run: Mapping[str, Any]) -> dict[str, Any]:
    """What verdicts.json says of the run: run.json, and the noise floor of every variable that has one."""
    return {key: value for key, value in run.items() if key != "schema"} | {"noise_floor": observed.floors(measured)}
