"""A progress line with the remaining time, on a terminal or in a log; transformers' own bars are silent meanwhile."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from transformers.utils import logging as transformers_logging

LOG_SECONDS = 15.0


class Progress:
    """Text passes done, elapsed and remaining; one line now and then where the output is not a terminal."""

    def __init__(self, total: int, *, enabled: bool = True) -> None:
        self.total, self.done, self.enabled = total, 0, enabled and total > 0
        self.what, self.start, self.last = "", time.monotonic(), 0.0
        self.console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = RichProgress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console)
        self.live = self.enabled and self.console.is_terminal
        self.bars_before = False

    def __enter__(self) -> "Progress":
        self.bars_before = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        if self.live:
            self.bar.start()
            self.task = self.bar.add_task("measuring", total=self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live:
            self.bar.stop()
        if self.bars_before:
            transformers_logging.enable_progress_bar()

    def describe(self, what: str) -> None:
        """Say what is being measured."""
        self.what = what
        if self.live:
            self.bar.update(self.task, description=what)

    def advance(self, passes: int) -> None:
        """Count finished passes."""
        self.done += passes
        if self.live:
            self.bar.advance(self.task, passes)
        elif self.enabled and (time.monotonic() - self.last > LOG_SECONDS or self.done == self.total):
            self.last = time.monotonic()
            left = (self.last - self.start) / self.done * (self.total - self.done)
            self.console.print(f"{self.what}: {self.done}/{self.total} passes, about {left / 60:.1f} minutes left")
