"""Verdicts + measurements -> one self-contained HTML file: matrix, number lines, profiles, heat maps; no network."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from dropeact import bundled, published
from dropeact.axes import COLUMNS
from dropeact.files import write_text
from dropeact.measured import of_run
from dropeact.report import effects, observed, words
from dropeact.report.again import command
from dropeact.report.first_page import first_page
from dropeact.report.html_charts import Chart, Heat, charts, heat_maps
from dropeact.report.html_lines import NumberLine, number_line
from dropeact.report.html_trajectory import trajectory
from dropeact.report.observed import Table
from dropeact.report.render import environment, written
from dropeact.report.tables import complete, perplexities
from dropeact.store import Store
from dropeact.verdicts import Record, expected, judge, load_claims
from dropeact.verdicts.records import by_experiment


class Entry(NamedTuple):
    """One record on the page: its number line, its definition, its own command, and a note on what was printed."""

    record: Record
    line: NumberLine | None
    formula: str
    command: str
    printed: str


class Section(NamedTuple):
    """One experiment on the page."""

    key: str
    title: str
    charts: list[Chart]
    tables: list[Table]
    entries: list[Entry]


def write_html(directory: Path, *, records: Sequence[Record] | None = None, output: Path | None = None) -> Path:
    """Write the page of the results in `directory` (default: report.html inside); return where it is."""
    store = Store(directory)
    run = store.read_run()
    lock = expected.load(run["pair"]["name"])
    judged = list(records) if records is not None else judge(directory, families=lock.families)
    target = output or directory / "report.html"
    with complete(directory):
        text = page(store, run, judged)
    write_text(target, text)
    return target


def page(store: Store, run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """The text of the page; the same results give the same bytes."""
    shown = [record for record in records if record.verdict != "not measured"]
    view = of_run(store, run)
    folder = bundled.folder("report_templates") / "html"
    heats = heat_maps(view)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            pair=run["pair"],
            style=Markup((folder / "report.css").read_text("utf-8")),
            script=Markup((folder / "report.js").read_text("utf-8")),
            words=words,
            counts=Counter(record.verdict for record in records),
            sections=sections(shown, commands(store, run), charts(view), observed.tables(view)),
            first=first_page(records, ()),
            effects=effects.replications(store.directory),
            sources=sorted({record.source for record in shown}),
            written=written(view),
            heats=heats,
            heat_data=scores(heats),
            trajectory=trajectory(store.directory),
            losses=perplexities(store, run),
            noise=observed.noise(view),
            checkpoints=[(words.NAMES[c], run["checkpoints"][c]) for c in COLUMNS],
        )
    )


def sections(
    records: Sequence[Record], again: Mapping[str, str], drawn: Sequence[Chart], tables: Mapping[str, list[Table]]
) -> list[Section]:
    """Records, charts and tables by experiment, in the order of the report."""
    claims, printed = load_claims(), {id: entry.note for id, entry in published.claims().items()}
    keys = sorted({r.experiment for r in records}, key=by_experiment)
    made = []
    for key in keys:
        entries = [
            Entry(
                r,
                number_line(r),
                claims[r.id].formula if r.id in claims else "",
                again.get(r.id, ""),
                printed.get(r.id, ""),
            )
            for r in records
            if r.experiment == key
        ]
        title = words.EXPERIMENTS.get(key, key)
        shown = [chart for chart in drawn if chart.experiment == key]
        made.append(Section(key, title, shown, tables.get(key, []), entries))
    return made


def commands(store: Store, run: Mapping[str, Any]) -> dict[str, str]:
    """Claim -> the command that measures the pair again and judges it."""
    return {id: command(store, run, claim) for id, claim in load_claims().items()}


def scores(heats: Sequence[Heat]) -> str:
    """The heat maps' values for the page's script, hundredths, as JSON that cannot end a script element."""
    return Markup(json.dumps([heat.hundredths for heat in heats], separators=(",", ":")).replace("<", "\\u003c"))
