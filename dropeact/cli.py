"""The command `dropeact`: each subcommand imports what it needs, so that `--help` and `audit` start at once."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from dropeact.axes import InputError

app = typer.Typer(
    help="Test-driven claims about what happens inside a language model when its positional embeddings are dropped.",
    epilog="Examples: dropeact report results/smollm2-135m --open; dropeact explain sink-rate-rope; "
    "dropeact verify --pair=smollm2-135m",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def claim_ids(incomplete: str) -> list[str]:
    """The catalogued claims that begin so, for the shell."""
    from dropeact import published

    return [id for id in published.claims() if id.startswith(incomplete)]


def pair_names(incomplete: str) -> list[str]:
    """The known pairs that begin so, for the shell."""
    from dropeact.pairs import known

    return [name for name in known() if name.startswith(incomplete)]


PairOption = Annotated[
    str | None,
    typer.Option("--pair", help="A known pair (see `dropeact pairs`) or a TOML file.", autocompletion=pair_names),
]
RopeOption = Annotated[str | None, typer.Option("--rope", help="RoPE checkpoint: hub id, local folder, GGUF file.")]
DropeOption = Annotated[str | None, typer.Option("--drope", help="DroPE checkpoint: hub id, local folder, GGUF file.")]
TextsOption = Annotated[str | None, typer.Option("--texts", help="Your own corpus: JSONL or text.")]
ArmOption = Annotated[str | None, typer.Option("--arm", help="first, bos or separator.")]
OnlyOption = Annotated[str, typer.Option("--only", help="Sets: core, observe, behaviour, ablation, long, or all.")]
LengthsOption = Annotated[str, typer.Option("--lengths", help="Tokens of the texts of the set long: 4096,8192.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cuda, cuda:0, mps, cpu, or auto: spread over all.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="float32 or bfloat16.")]


def main() -> None:
    """Run the command; unusable input is one line and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"dropeact: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def measure(
    out: Annotated[Path, typer.Option("--out", help="Folder of the results; the same command resumes there.")],
    pair: PairOption = None,
    rope: RopeOption = None,
    drope: DropeOption = None,
    texts: TextsOption = None,
    arm: ArmOption = None,
    only: OnlyOption = "core",
    lengths: LengthsOption = "",
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say tokens, minutes, memory and downloads only.")] = False,
) -> None:
    """Measure a pair into a folder.

    Examples: dropeact measure --pair=smollm2-135m --out=runs/mine;
    dropeact measure --pair=llama2-7b --only=long --lengths=4096,8192 --out=runs/7b
    """
    from dropeact.measurements import plan

    asked = (texts, only, device, dtype, plan.token_counts(lengths, "--lengths"))
    request = plan.Request(chosen(pair, rope, drope, arm), arm or "", *asked)
    if dry_run:
        from dropeact.measurements import costs

        print("\n".join(costs.dry_run(request, out)))
        return
    plan.measure_pair(request, out)
    print(f"measured: {out}; judge with `dropeact report {out}`")


@app.command()
def harness(
    tasks: Annotated[
        str, typer.Option("--tasks", help="Tasks of lm-evaluation-harness: niah_single_1,ruler_qa_squad.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the results; the same command resumes there.")],
    pair: PairOption = None,
    rope: RopeOption = None,
    drope: DropeOption = None,
    lengths: Annotated[str, typer.Option("--lengths", help="RULER's lengths: 4096,8192.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", help="So many items of a task.")] = None,
    folder: Annotated[str | None, typer.Option("--include-path", help="A folder of task files of your own.")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Ask a pair tasks of lm-evaluation-harness (`pip install lm-eval`); scores per item go into the store.

    Example: dropeact harness --pair=llama2-7b --tasks=niah_single_1 --lengths=4096,8192 --out=runs/7b
    """
    from dropeact.measurements import harness as bridge
    from dropeact.measurements.plan import Request, token_counts

    request = Request(chosen(pair, rope, drope, None), device=device, dtype=dtype)
    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    bridge.measure_tasks(request, bridge.Asked(names, limit, token_counts(lengths, "--lengths"), folder), out)
    print(f'measured: {out}; read with `dropeact.open("{out}")`')


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def verify(context: typer.Context) -> None:
    """Judge claims: builds and runs the pytest line for you; every option of `pytest -m claims` is passed on.

    Example: dropeact verify --pair=smollm2-135m --fresh --out=runs/mine
    """
    from dropeact import bundled

    home = bundled.folder("claims").parent
    line = [sys.executable, "-m", "pytest", f"--rootdir={home}", "-c", str(home / "pyproject.toml"), "-m", "claims"]
    line += ["-p", "no:cacheprovider", str(home / "claims"), *context.args]
    print(" ".join(["pytest", *line[3:]]))
    raise typer.Exit(subprocess.call(line))


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(help="A folder of stored results; several give one table.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write (default: FINDINGS.md).")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="One self-contained HTML file.")] = False,
    show: Annotated[bool, typer.Option("--open", help="The HTML file, opened in the browser.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print a Markdown summary for CI.")] = False,
    badge: Annotated[bool, typer.Option("--badge", help="Print the JSON of a shields.io endpoint.")] = False,
) -> None:
    """Write FINDINGS.md and figures from stored results; loads no model. Several folders: claims x pairs.

    Examples: dropeact report results/smollm2-135m; dropeact report results/smollm2-135m --open;
    dropeact report results/smollm2-135m runs/mine
    """
    if len(directories) > 1 and (html or show or summary or badge):
        raise InputError(f"expected one folder with --html, --open, --summary or --badge; got {len(directories)}")
    if len(directories) > 1:
        from dropeact.report.side_by_side import table

        emit(table(directories), output)
    elif summary or badge:
        from dropeact.report.summary import badge as badge_json
        from dropeact.report.summary import summary as summary_markdown

        emit((summary_markdown if summary else badge_json)(directories[0]), output)
    elif html or show:
        from dropeact.report.html import write_html

        page = write_html(directories[0], output=output)
        print(page)
        if show:
            typer.launch(page.resolve().as_uri())
    else:
        from dropeact.report import write

        print(write(directories[0], output=output))


@app.command()
def explain(
    claim: Annotated[str, typer.Argument(help="The id of a claim.", autocompletion=claim_ids)],
    results: Annotated[
        Path | None, typer.Option("--results", help="Stored results (default: the accepted ones).")
    ] = None,
) -> None:
    """Show a claim's statement, formula, region, per-text table, published value and the command that measures it.

    Example: dropeact explain massive-query-reduction
    """
    from dropeact.report.explain import explained

    print("\n".join(explained(claim, results)))


@app.command()
def claims() -> None:
    """List every claim with its experiment, source and region.

    Example: dropeact claims | grep sink
    """
    from dropeact import published
    from dropeact.verdicts import load_claims

    known = load_claims()
    for id, entry in published.claims().items():
        judged = f"{known[id].kind}, {known[id].region}" if id in known else "not judged yet"
        print(f"{id:<38} {entry.source:<34} {judged}")
    for id in sorted(set(known) - set(published.claims())):
        print(f"{id:<38} {'this project':<34} {known[id].kind}, {known[id].region}")


@app.command()
def pairs() -> None:
    """List the known pairs.

    Example: dropeact pairs
    """
    from dropeact.pairs import DEFAULT, known

    for pair in known().values():
        note = " (default)" if pair.name == DEFAULT else ""
        print(f"{pair.name:<16}{pair.rope}  |  {pair.drope}  |  {pair.primary_arm} arm{note}")


@app.command()
def accept(directory: Annotated[Path, typer.Argument(help="A measured run.")]) -> None:
    """Make a run the accepted results of its pair: copies the store, locks its verdicts, says what changed.

    Example: dropeact accept runs/mine
    """
    from dropeact.report.accept import accept as make_accepted

    print("\n".join(make_accepted(directory)))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The baseline: a folder of results.")],
    new: Annotated[Path, typer.Argument(help="The run to compare with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every record as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="What moved as Markdown.")] = False,
) -> None:
    """Say what moved between two runs; status 0 nothing regressed, 1 regressed, 2 not comparable.

    Example: dropeact diff results/smollm2-135m runs/mine
    """
    from dropeact.report.diff import rendered
    from dropeact.verdicts.regression import compare

    comparison = compare(old, new)
    print(rendered(comparison, "json" if as_json else "md" if as_markdown else "text"), end="")
    raise typer.Exit(comparison.status)


@app.command()
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

    style = "json" if as_json else "md" if as_markdown else "text"
    raise typer.Exit(command(checks, evidence, style=style, expect=expect))


@app.command()
def convert(
    src: Annotated[str, typer.Argument(help="RoPE checkpoint: hub id, local folder, GGUF file, embedded:NAME.")],
    dst: Annotated[Path, typer.Argument(help="A new folder.")],
    qk_norm: Annotated[
        str | None, typer.Option("--qk-norm", help="q, k or qk: add RMSNorms over the full width.")
    ] = None,
    smollm3: Annotated[bool, typer.Option("--smollm3", help="Export as stock SmolLM3, loadable elsewhere.")] = False,
) -> None:
    """Drop the rotary embeddings of a Llama checkpoint, weights unchanged.

    Example: dropeact convert embedded:smollm2-135m dropped
    """
    from dropeact.checkpoints.convert import convert as drop_rotation

    print(drop_rotation(src, str(dst), qk_norm, smollm3))


@app.command()
def recalibrate(
    src: Annotated[str, typer.Argument(help="RoPE checkpoint: hub id, local folder, GGUF file, embedded:NAME.")],
    dst: Annotated[Path, typer.Argument(help="A new folder; the same command again goes on where it stopped.")],
    corpus: Annotated[str, typer.Option("--corpus", help="Text, JSONL, a folder, a dataset name, or `parent`.")],
    objective: Annotated[str, typer.Option("--objective", help="distill (KL to the parent) or ce.")] = "distill",
    trainables: Annotated[str, typer.Option("--trainables", help="all, attention or lora.")] = "attention",
    tokens: Annotated[int | None, typer.Option("--tokens", help="Train on so many tokens.")] = None,
    budget_minutes: Annotated[float | None, typer.Option("--budget-minutes", help="... or for so long.")] = None,
    length: Annotated[int, typer.Option("--length", help="Tokens of a window.")] = 512,
    batch: Annotated[int, typer.Option("--batch", help="Windows of a step.")] = 8,
    micro_batch: Annotated[int, typer.Option("--micro-batch", help="Windows at a time.")] = 4,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Peak; warm-up, then a cosine to zero.")
    ] = 1e-3,
    warmup_steps: Annotated[int, typer.Option("--warmup-steps", help="Steps of linear warm-up.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Order of windows, initial adapters, samples.")] = 42,
    separator: Annotated[str | None, typer.Option("--separator", help="Token between documents.")] = None,
    keep_rope: Annotated[
        bool, typer.Option("--keep-rope", help="Control: train as long with the rotation kept.")
    ] = False,
    qk_norm: Annotated[str | None, typer.Option("--qk-norm", help="q, k or qk.")] = None,
    from_adapter: Annotated[str | None, typer.Option("--from-adapter", help="Go on from an adapter.")] = None,
    lora_rank: Annotated[int, typer.Option("--lora-rank", help="Rank under --trainables=lora.")] = 64,
    precision: Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")] = "auto",
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Recompute activations: less memory.")] = False,
    corpus_tokens: Annotated[int | None, typer.Option("--corpus-tokens", help="Pack at most so many tokens.")] = None,
    softmax_scale: Annotated[
        float | None, typer.Option("--softmax-scale", help="In the place of head_dim ** -0.5.")
    ] = None,
    heldout_windows: Annotated[int, typer.Option("--heldout-windows", help="Windows kept out of training.")] = 16,
    evaluations: Annotated[int, typer.Option("--evaluations", help="How often held-out loss is measured.")] = 8,
    save_every: Annotated[int, typer.Option("--save-every", help="Steps between states to go on from.")] = 50,
    snapshots: Annotated[str, typer.Option("--snapshots", help="Shares of the run at which adapters are kept.")] = "",
) -> None:
    """Recalibrate a dropped checkpoint by continued training; writes checkpoint, adapter, recipe and log.

    Example: dropeact recalibrate embedded:smollm2-135m mine --corpus=texts.jsonl --budget-minutes=120
    """
    from dropeact.checkpoints.options import Options
    from dropeact.checkpoints.recalibrate import recalibrate as train

    print(train(Options(**recalibration_options(locals()))))


def recalibration_options(given: dict) -> dict:
    """The command's options by the names of `Options`."""
    named = {name: value for name, value in given.items() if name not in ("src", "dst", "Options", "train")}
    named["snapshots"] = tuple(float(share) for share in given["snapshots"].split(",") if share)
    return {"source": given["src"], "destination": str(given["dst"])} | named


@app.command()
def trajectory(
    runs: Annotated[
        list[Path], typer.Argument(help="A recalibration that kept snapshots; several, where one went on.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of results that the trajectory belongs to.")],
    pair: PairOption = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Keep the earlier stages of the trajectory stored there.")
    ] = False,
) -> None:
    """Measure a recalibration's snapshots: the headline quantities against tokens.

    Examples: dropeact trajectory mine --out=runs/mine; dropeact trajectory more --extend --out=runs/mine
    """
    from dropeact.measurements.trajectory import FILE
    from dropeact.measurements.trajectory import trajectory as measure_stages
    from dropeact.store import read_dataset, write_dataset

    earlier = read_dataset(out / FILE) if extend else None
    write_dataset(out / FILE, measure_stages(runs, chosen(pair, None, None, None), earlier=earlier))
    print(out / FILE)


def chosen(pair: str | None, rope: str | None, drope: str | None, arm: str | None):
    """The pair that the options name."""
    from dropeact import pairs as known

    if bool(rope) != bool(drope):
        raise InputError("expected both --rope=ID and --drope=ID; got only one; give the other checkpoint")
    if rope and drope:
        if pair:
            raise InputError("expected --pair or --rope with --drope; got both; leave one out")
        return known.of(rope, drope, arm=arm)  # pyright: ignore[reportArgumentType] - checked by Pair itself
    return known.load(pair or known.DEFAULT)


def emit(text: str, output: Path | None) -> None:
    """Print a text, or write it and print where it is."""
    if output is None:
        print(text, end="")
        return
    from dropeact.store import write_text

    write_text(output, text)
    print(output)


if __name__ == "__main__":
    main()
