"""Verdicts + measurements -> one self-contained HTML file: FINDINGS.md with filters, number lines and charts."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

from markupsafe import Markup

from dropeact import bundled, published
from dropeact.audit import audit
from dropeact.axes import SINK_THRESHOLD
from dropeact.files import write_text
from dropeact.measured import Measured, of_run
from dropeact.report import markdown
from dropeact.report.again import command
from dropeact.report.gallery import gallery
from dropeact.report.html_charts import CHARTED, Heat, charts, heat_maps
from dropeact.report.html_lines import number_line
from dropeact.report.html_trajectory import trajectory
from dropeact.report.painting import painting
from dropeact.report.render import contents, environment
from dropeact.report.tables import complete
from dropeact.run_file import check_ended
from dropeact.store import Store
from dropeact.verdicts import Record, expected, judge, load_claims, robustness


def write_html(
    directory: Path, *, records: Sequence[Record] | None = None, output: Path | None = None, processes: int = 1
) -> Path:
    """Write the page of the results in `directory` (default: report.html inside); return where it is.

    Of two `processes` the second paints the figures of the experiments.
    """
    store = Store(directory)
    run = store.read_run()
    check_ended(run, directory)
    families = expected.load(run["pair"]["name"]).families
    target = output or directory / "report.html"
    with complete(directory), TemporaryDirectory() as name:
        folder = Path(name)
        if bundled.is_accepted(directory) and (accepted := directory / "figures").is_dir():
            copytree(accepted, folder, dirs_exist_ok=True)
        with painting(directory, folder, replace=False, processes=processes) as painted:
            judged = list(records) if records is not None else judge(directory, families=families)
            text = page(of_run(store, run), run, judged, folder, painted)
    write_text(target, text)
    return target


def page(
    measured: Measured,
    run: Mapping[str, Any],
    records: Sequence[Record],
    folder: Path,
    painted: Callable[[], bool] = lambda: False,
) -> str:
    """The text of the page, its figures painted into `folder`; the same results give the same bytes."""
    audited = audit(published.path("audit.toml"), published.path("evidence.json"))
    strips = robustness.strips(measured, load_claims())
    drawn = gallery(measured, records, strips, audited, folder, replace=False, painted=painted)
    shown = contents(measured, run, records, audited, strips, drawn, lambda figure: figure.path.name)
    made = environment()
    made.filters["markdown"] = partial(markdown.html, pictures={f.path.name: embedded(f.path) for f in drawn.every})
    made.filters |= {"headings": markdown.headings, "inline": markdown.inline}
    return made.get_template("report.html.j2").render(shown | interactive(measured, run, shown))


def interactive(measured: Measured, run: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows beside the contents of FINDINGS.md, or in the place of a figure."""
    folder = bundled.folder("report_templates") / "html"
    drawn, heats = charts(measured), heat_maps(measured)
    return {
        "style": Markup((folder / "report.css").read_text("utf-8")),
        "script": Markup((folder / "report.js").read_text("utf-8")),
        "lines": {record.key: number_line(record) for record in shown["records"]},
        "commands": {id: command(measured.store, run, claim) for id, claim in load_claims().items()},
        "sources": sorted({record.source for record in shown["records"]}),
        "figures": {
            key: [f for f in figures if f.path.stem not in CHARTED] for key, figures in shown["figures"].items()
        },
        "charts": {
            key: [chart for chart in drawn if chart.labels.experiment == key] for key, *_ in shown["experiments"]
        },
        "heats": heats,
        "charted": {f.path.stem: f for figures in shown["figures"].values() for f in figures},
        "threshold": SINK_THRESHOLD,
        "heat_data": scores(heats),
        "trajectory": trajectory(measured.store.directory),
    }


def embedded(path: Path) -> str:
    """A figure as an address that holds it, so that the page needs no other file."""
    return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}"


def scores(heats: Sequence[Heat]) -> str:
    """The heat maps' values for the page's script, hundredths, as JSON that cannot end a script element."""
    return Markup(json.dumps([heat.hundredths for heat in heats], separators=(",", ":")).replace("<", "\\u003c"))
