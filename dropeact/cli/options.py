"""Options that several commands share, the pair that they name, and where a text goes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dropeact.axes import InputError


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
NumbersOption = Annotated[
    str, typer.Option("--numbers", help="Numbers hidden at each depth of the texts of the set long (20).")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cuda, cuda:0, mps, cpu, or auto: spread over all.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="float32 or bfloat16.")]


def chosen(pair: str | None, rope: str | None, drope: str | None, arm: str | None):
    """The pair that the options name."""
    from dropeact import pairs as known

    if arm and arm not in known.ARMS:
        raise InputError(f"expected --arm among {', '.join(known.ARMS)}; got {arm!r}; choose one of them")
    if bool(rope) != bool(drope):
        raise InputError("expected both --rope=ID and --drope=ID; got only one; give the other checkpoint")
    if rope and drope:
        if pair:
            raise InputError("expected --pair or --rope with --drope; got both; leave one out")
        return known.of(rope, drope, arm=arm)  # pyright: ignore[reportArgumentType] - checked by Pair itself
    return known.load(pair or known.DEFAULT)


def style(*, as_json: bool, as_markdown: bool) -> Literal["text", "json", "md"]:
    """The form of what is printed."""
    if as_json and as_markdown:
        raise InputError("expected --json or --md; got both; leave one out")
    return "json" if as_json else "md" if as_markdown else "text"


def emit(text: str, output: Path | None) -> None:
    """Print a text, or write it and print where it is."""
    if output is None:
        print(text, end="")
        return
    from dropeact.files import write_text

    write_text(output, text)
    print(output)
