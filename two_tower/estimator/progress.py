"""The progress bar of `fit`."""

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

STEPS = 6  # beside the epochs


class Bar:
    """A bar with one unit per step and one per epoch, on standard error or in a notebook."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._epochs = epochs
        self._task = progress.add_task("starting", total=STEPS + epochs)
        self._done = 0

    def step(self, description: str) -> None:
        """Begin a step; those before it are complete."""
        self._progress.update(self._task, description=description, completed=self._done)
        self._done += 1

    def epoch(self, measured: Mapping[str, float]) -> None:
        """Show an epoch that has ended."""
        text = f"training: epoch {measured['epoch']:.0f}, validation recall@20 {measured['recall@20']:.4f}"
        self._progress.update(self._task, description=text, advance=1)

    def trained(self) -> None:
        """End the training, which may take fewer epochs than the setting allows."""
        self._done += self._epochs


@contextmanager
def progress_bar(verbose: bool, epochs: int) -> Iterator[Bar]:
    """Show a bar, and keep what the steps print from the standard streams.

    Args:
        verbose: Show the bar where standard error is a terminal, and in a notebook.
        epochs: The most epochs that training can take.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    shown = verbose and (console.is_terminal or console.is_jupyter)
    progress = Progress(*columns, console=console, disable=not shown, redirect_stdout=False, redirect_stderr=False)
    with progress, quiet():
        yield Bar(progress, epochs)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the log lines that the steps print for `two-tower run`."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
