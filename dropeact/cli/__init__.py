"""The command `dropeact`: each subcommand imports what it needs, so that `--help` and `audit` start at once."""

import io
import sys
from collections.abc import Sequence

import typer

from dropeact import failures
from dropeact.axes import InputError
from dropeact.cli import judging, listing, making, measuring

app = typer.Typer(
    help="Test-driven claims about what happens inside a language model when its positional embeddings are dropped.",
    epilog="Examples: dropeact report results/smollm2-135m --open; dropeact explain sink-rate-rope; "
    "dropeact verify --pair=smollm2-135m",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
INTERRUPTED = 130  # the shell's status for Ctrl-C
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

for command in (measuring.measure, measuring.harness):
    app.command()(command)
app.command(context_settings=PASSED_ON)(judging.verify)
for command in (judging.report, judging.explain, listing.claims, listing.pairs, judging.accept, judging.diff):
    app.command()(command)
for command in (judging.audit, making.convert, making.recalibrate, measuring.trajectory):
    app.command()(command)


def refuse_empty(words: Sequence[str]) -> None:
    """Refuse an option that is given no value, and an empty word: they would read as left out, or as this folder.

    Raises
    ------
    InputError
        For the first such option, like `--results=`, or empty word, like the one in `--results ""`.
    """
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("--") and word.endswith("=") and word.count("=") == 1:
            raise InputError(f"expected a value behind {word}; got none; give one, or leave the option out")
        if not word:
            behind = f" behind {before}" if before else ""
            raise InputError(f'expected a value{behind}; got ""; give one, or leave it out')


def main() -> None:
    """Run the command; unusable input, or a place that cannot be written, is one line and exit status 2.

    Ctrl-C is one line, too, and exit status 130.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ≤ shows a question mark, not a traceback
    try:
        refuse_empty(sys.argv[1:])
        app()
    except Exception as error:
        line = error if isinstance(error, InputError) else failures.told(error)
        if line is None:
            raise
        print(f"dropeact: {line}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("dropeact: stopped; what is stored stays, and the same command goes on from there", file=sys.stderr)
        raise
