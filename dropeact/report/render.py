"""Records and measurements -> what the report says, through templates that fail on anything undefined."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from dropeact import bundled, published
from dropeact.audit import Finding
from dropeact.axes import COLUMNS
from dropeact.measured import Measured, MissingMeasurement
from dropeact.report import effects, observed, sensitivity, words
from dropeact.report.contrasts import contrasts
from dropeact.report.controls import controls, doses
from dropeact.report.distance import falls_short
from dropeact.report.drawing import Figure
from dropeact.report.extent import extents
from dropeact.report.first_page import first_page, unlabelled
from dropeact.report.gallery import Gallery
from dropeact.report.tables import perplexities
from dropeact.verdicts import Record, load_claims
from dropeact.verdicts.records import by_experiment
from dropeact.verdicts.robustness import Strip


def environment() -> jinja2.Environment:
    """Templates of report_templates/: an undefined name is an error, HTML is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(bundled.folder("report_templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(["html", "html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        name: getattr(words, name)
        for name in ("number", "measured", "interval", "region", "published", "headline", "parts", "anchor")
    }
    made.filters["mark"] = lambda record: words.MARKS[record.verdict]
    made.filters |= {"replication": effects.sentence, "effect_ratio": effects.ratio, "unlabelled": unlabelled}
    made.tests["short_of_region"] = falls_short
    return made


def findings(contents: Mapping[str, Any]) -> str:
    """The text of FINDINGS.md."""
    return environment().get_template("FINDINGS.md.j2").render(contents)


def contents(
    measured: Measured,
    run: Mapping[str, Any],
    records: Sequence[Record],
    audited: Sequence[Finding],
    strips: Mapping[str, Strip],
    drawn: Gallery,
    link: Callable[[Figure], str],
) -> dict[str, Any]:
    """What either form of the report shows, under the names that the templates use."""
    judged = [record for record in records if record.verdict != "not measured"]
    experiments = sorted({r.experiment for r in judged}, key=by_experiment)
    return {
        "run": run,
        "pair": run["pair"],
        "counts": Counter(record.verdict for record in records),
        "marks": words.MARKS,
        "records": judged,
        "experiments": [
            (e, words.EXPERIMENTS.get(e, e), [r for r in judged if r.experiment == e]) for e in experiments
        ],
        "figures": {e: [f for f in drawn.experiments if f.experiment == e] for e in experiments},
        "link": link,
        "findings": audited,
        "first": first_page(records, audited),
        "effects": effects.replications(measured.store.directory),
        "overview": drawn.overview,
        "strips": {id: sensitivity.line(strip) for id, strip in strips.items()},
        "curves": drawn.curves,
        "long_lengths": measured.pair.long_lengths,
        "turned": turned(judged, strips),
        "written": written(measured),
        "formulas": {id: claim.formula for id, claim in load_claims().items()},
        "printed": published.claims(),
        "contrasts": contrasts(measured),
        "controls": controls(measured),
        "doses": doses(measured),
        "observed": observed.tables(measured),
        "noise": observed.noise(measured),
        "audit_figure": link(drawn.audit),
        "losses": perplexities(measured.store, run),
        "extents": extents(measured.store, run),
        "checkpoints": [(words.NAMES[c], run["checkpoints"][c]) for c in COLUMNS],
    }


def turned(records: Sequence[Record], strips: Mapping[str, Strip]) -> list[tuple[Record, str]]:
    """The records whose verdict another stored setting would turn into the opposite one, and which."""
    own = [r for r in records if r.kind != "magnitude" and r.id in strips]
    found = [(r, sensitivity.turning(strips[r.id])) for r in own if strips[r.id].settings[0].verdict == r.verdict]
    return [(record, text) for record, text in found if text]


def written(measured: Measured) -> str:
    """The write layer of each half of the texts, in words; empty where it is not known."""
    try:
        layers = sorted(set(measured.write_layers.values()))
    except MissingMeasurement:
        return ""
    return f"layer{'s' if len(layers) > 1 else ''} {' and '.join(map(str, layers))}"


def relative(path: Path, target: Path) -> str:
    """A link from the folder of `target` to `path`; Markdown would end it at a space or a parenthesis."""
    return quote(Path(os.path.relpath(path, target.parent)).as_posix(), safe="/")
