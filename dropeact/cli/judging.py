"""Commands that read stored results: verdicts, reports, comparisons, the audit. No model is loaded."""

import gc
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from dropeact.axes import InputError
from dropeact.cli.options import emit, style


def claim_ids(incomplete: str) -> list[str]:
    """The catalogued claims that begin so, for the shell."""
    from dropeact import published

    return [id for id in published.claims() if id.startswith(incomplete)]


RARELY = 100_000, 50, 50  # many small arrays and marks of figures, hardly a cycle: looking for those took a tenth


OwnOption = Annotated[
    list[Path] | None, typer.Option("--claims", help="Claims of your own: a file, or a folder of test_*.py.")
]


def verify(context: typer.Context) -> None:
    """Judge claims: builds and runs the pytest line for you; every option of `pytest -m claims` is passed on.

    Example: dropeact verify --pair=smollm2-135m --fresh --out=runs/mine
    """
    from dropeact import bundled

    home = bundled.folder("claims").parent
    line = [f"--rootdir={home}", "-c", str(home / "pyproject.toml"), "-m", "claims", "-p", "no:cacheprovider"]
    line += [str(home / "claims"), *context.args]
    print(shlex.join(["pytest", *line]))
    # -P: a checkout in the working directory would stand before the package whose claims are judged
    raise typer.Exit(subprocess.call([sys.executable, "-P", "-m", "pytest", *line]))


def report(
    directories: Annotated[list[Path], typer.Argument(help="A folder of stored results; several give one table.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write (default: FINDINGS.md).")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="One self-contained HTML file.")] = False,
    show: Annotated[bool, typer.Option("--open", help="The HTML file, opened in the browser.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print a Markdown summary for CI.")] = False,
    badge: Annotated[bool, typer.Option("--badge", help="Print the JSON of a shields.io endpoint.")] = False,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="With --summary or --badge: what is expected (OLD).")
    ] = None,
    own: OwnOption = None,
) -> None:
    """Write FINDINGS.md and figures from stored results; loads no model. Several folders: claims x pairs.

    Examples: dropeact report results/smollm2-135m; dropeact report results/smollm2-135m --open;
    dropeact report results/smollm2-135m runs/mine
    """
    gc.set_threshold(*RARELY)
    processes = os.cpu_count() or 1
    if len(directories) > 1 and (html or show or summary or badge):
        raise InputError(f"expected one folder with --html, --open, --summary or --badge; got {len(directories)}")
    if (html or show) + summary + badge > 1:
        raise InputError("expected one of --html, --open, --summary and --badge; got several; leave the others out")
    if baseline is not None and not (summary or badge):
        raise InputError("expected --summary or --badge beside --baseline; got neither; add one, or leave it out")
    from dropeact.verdicts import load_claims

    load_claims(own or ())
    if len(directories) > 1:
        from dropeact.report.side_by_side import table

        emit(table(directories), output)
    elif summary or badge:
        from dropeact.report.summary import badge as badge_json
        from dropeact.report.summary import summary as summary_markdown

        emit((summary_markdown if summary else badge_json)(directories[0], baseline), output)
    elif html or show:
        from dropeact.report.html import write_html

        page = write_html(directories[0], output=output, processes=processes)
        print(page)
        if show:
            typer.launch(page.resolve().as_uri())
    else:
        from dropeact.report.folder import forgotten, write

        lost = forgotten(directories[0])
        print(write(directories[0], output=output, processes=processes))
        if lost:
            print(lost, file=sys.stderr)


def explain(
    claim: Annotated[str, typer.Argument(help="The id of a claim.", autocompletion=claim_ids)],
    results: Annotated[
        Path | None, typer.Option("--results", help="Stored results (default: the accepted ones).")
    ] = None,
    own: OwnOption = None,
) -> None:
    """Show a claim's statement, formula, region, per-text table, published value and the command that measures it.

    Examples: dropeact explain massive-query-reduction; dropeact explain my-claim --claims=mine.py
    """
    from dropeact.report.explain import explained

    print("\n".join(explained(claim, results, own or ())))


def accept(directory: Annotated[Path, typer.Argument(help="A measured run.")]) -> None:
    """Make a run the accepted results of its pair: copies the store, locks its verdicts, says what changed.

    Example: dropeact accept runs/mine
    """
    from dropeact.report.accept import accept as make_accepted

    print("\n".join(make_accepted(directory)))


def diff(
    old: Annotated[Path, typer.Argument(help="The baseline: a folder of results.")],
    new: Annotated[Path, typer.Argument(help="The run to compare with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every record as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="What moved as Markdown.")] = False,
    own: OwnOption = None,
) -> None:
    """Say what moved between two runs; status 0 nothing regressed, 1 regressed, 2 not comparable.

    Example: dropeact diff results/smollm2-135m runs/mine
    """
    from dropeact.report.diff import rendered
    from dropeact.verdicts import load_claims
    from dropeact.verdicts.regression import compare

    form = style(as_json=as_json, as_markdown=as_markdown)
    comparison = compare(old, new, claims=load_claims(own or ()))
    print(rendered(comparison, form), end="")
    raise typer.Exit(comparison.status)


def audit(
    checks: Annotated[Path | None, typer.Argument(help="TOML of checks (default: the study's).")] = None,
    evidence: Annotated[Path | None, typer.Argument(help="JSON of raw figures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="Findings as Markdown.")] = False,
    expect: Annotated[Path | None, typer.Option("--expect", help="TOML of differences that are known.")] = None,
) -> None:
    """Compare printed numbers with the raw figures behind them; status 1 where they differ.

    Examples: dropeact audit; dropeact audit --md
    """
    from dropeact.audit import command

    form = style(as_json=as_json, as_markdown=as_markdown)
    raise typer.Exit(command(checks, evidence, style=form, expect=expect))
