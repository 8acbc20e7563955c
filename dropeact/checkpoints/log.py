"""The log of a training run: log.csv, a line a step, and one line of progress on the terminal."""

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

COLUMNS = ("step", "tokens", "loss", "learning_rate", "seconds", "heldout")


class Log:
    """Appends rows to a CSV file, each flushed at once; a run resumed from a saved state drops the rows after it."""

    def __init__(self, file: Path, bins: int):
        self.file = file
        self.columns = [*COLUMNS, *(f"heldout_{128 * index}" for index in range(bins))]

    def keep(self, step: int) -> None:
        """Keep the rows up to `step`, and begin the file if there is none."""
        rows = [row for row in read(self.file) if int(row["step"]) <= step] if self.file.is_file() else []
        unfinished = self.file.with_suffix(".tmp.csv")
        with unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        unfinished.replace(self.file)

    def add(self, row: Mapping[str, float], remaining: float | None) -> None:
        """Append a row and tell how far the run is."""
        with self.file.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow({name: _short(value) for name, value in row.items()})
        speed = row["tokens"] / row["seconds"] if row["seconds"] else 0.0
        left = "" if remaining is None else f", {remaining / 60:.0f} min left"
        held = f", held-out {row['heldout']:.3f}" if "heldout" in row else ""
        loss = f", loss {row['loss']:.3f}" if "loss" in row else ""
        text = f"step {row['step']}: {row['tokens']:,} tokens{loss}{held}, {speed:.0f} tokens/s{left}"
        end = "\n" if held or not sys.stderr.isatty() else ""
        print(f"\r\033[K{text}" if sys.stderr.isatty() else text, end=end, file=sys.stderr, flush=True)


def read(file: Path) -> list[dict[str, str]]:
    """Return the rows of a log; a last line that was cut off is left out."""
    with file.open(newline="") as lines:
        return [row for row in csv.DictReader(lines) if row.get("seconds")]


def _short(value: float) -> float | str:
    return f"{value:.6g}" if isinstance(value, float) else value
