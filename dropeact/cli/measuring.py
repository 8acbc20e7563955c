"""Commands that run models: measure a pair, ask it tasks, follow a recalibration."""

from pathlib import Path
from typing import Annotated

import typer

from dropeact.axes import InputError
from dropeact.cli.options import (
    ArmOption,
    DeviceOption,
    DropeOption,
    DtypeOption,
    LengthsOption,
    NumbersOption,
    OnlyOption,
    PairOption,
    RopeOption,
    TextsOption,
    chosen,
)


def measure(
    out: Annotated[Path, typer.Option("--out", help="Folder of the results; the same command resumes there.")],
    pair: PairOption = None,
    rope: RopeOption = None,
    drope: DropeOption = None,
    texts: TextsOption = None,
    arm: ArmOption = None,
    only: OnlyOption = "core",
    lengths: LengthsOption = "",
    numbers: NumbersOption = "",
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say tokens, minutes, memory and downloads only.")] = False,
) -> None:
    """Measure a pair into a folder.

    Examples: dropeact measure --pair=smollm2-135m --out=runs/mine;
    dropeact measure --pair=llama2-7b --only=long --lengths=4096,8192 --out=runs/7b
    """
    from dropeact.measurements import plan

    asked = (
        *(texts, only, device, dtype),
        plan.token_counts(lengths, "--lengths"),
        plan.hidden_numbers(numbers, "--numbers"),
    )
    request = plan.Request(chosen(pair, rope, drope, arm), arm or "", *asked)
    if dry_run:
        from dropeact.measurements import costs

        print("\n".join(costs.dry_run(request, out)))
        return
    plan.measure_pair(request, out)
    print(f"measured: {out}; judge with `dropeact report {out}`")


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

    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    if not names:
        raise InputError(f"expected a task in --tasks; got {tasks!r}; name one, like --tasks=niah_single_1")
    if limit is not None and limit < 1:
        raise InputError(f"expected a --limit of 1 or more; got {limit}; raise it, or leave it out for every item")
    request = Request(chosen(pair, rope, drope, None), device=device, dtype=dtype)
    bridge.measure_tasks(request, bridge.Asked(names, limit, token_counts(lengths, "--lengths"), folder), out)
    print(f'measured: {out}; read with `dropeact.open("{out}")`')


def trajectory(
    runs: Annotated[
        list[Path], typer.Argument(help="A recalibration that kept snapshots; several, where one went on.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of results that the trajectory belongs to.")],
    pair: PairOption = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Keep the earlier stages of the trajectory stored there.")
    ] = False,
    device: DeviceOption = None,
) -> None:
    """Measure a recalibration's snapshots: the headline quantities against tokens.

    Examples: dropeact trajectory mine --out=runs/mine; dropeact trajectory more --extend --out=runs/mine
    """
    from dropeact.files import read_dataset, write_dataset
    from dropeact.measurements.provenance import default_device
    from dropeact.measurements.trajectory import FILE, check_folder
    from dropeact.measurements.trajectory import trajectory as measure_stages

    of = chosen(pair, None, None, None)
    check_folder(out, of)
    earlier = read_dataset(out / FILE) if extend else None
    stages = measure_stages(runs, of, device=device or default_device(), earlier=earlier)
    write_dataset(out / FILE, stages)
    print(out / FILE)
