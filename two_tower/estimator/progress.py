"""The progress bar of `fit`."""

import contextlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from two_tower.training.callbacks import Callback, Metrics, TrainStart

STEPS = 6  # without the epochs


class Bar(Callback):
    """A bar with one unit per step and one per epoch, on standard error or in a notebook. Training calls it back."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=STEPS + epochs)
        self._done = 0

    def step(self, description: str) -> None:
        """Start a step, and mark the steps before it as complete."""
        self._progress.update(self._task, description=description, completed=self._done)
        self._done += 1

    def on_train_begin(self, start: TrainStart) -> None:
        """Count all epochs as done for the next step: training can end before the last one."""
        self._done += start.config.epochs

    def on_epoch_end(self, metrics: Metrics) -> None:
        """Show an epoch that has ended."""
        text = f"training: epoch {metrics['epoch']:.0f}, validation recall@20 {metrics['recall@20']:.4f}"
        self._progress.update(self._task, description=text, advance=1)


@contextmanager
def progress_bar(verbose: bool, epochs: int) -> Iterator[Bar]:
    """Show a progress bar, and suppress the output of the steps.

    Args:
        verbose: Show the bar if standard error is a terminal, or in a notebook.
        epochs: The maximum number of epochs.
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
