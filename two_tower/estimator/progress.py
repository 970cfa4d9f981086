"""What `fit` prints: a progress bar on a terminal or in a notebook, else a line for each step and epoch."""

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from two_tower.training.callbacks import Callback, Metrics, TrainStart, call

STEPS = 6  # without the epochs


class Bar(Callback):
    """A bar with one unit per step and one per epoch. Training calls it back.

    Args:
        progress: The bar.
        epochs: Maximum number of epochs.
        lines: Gets a line for each step and epoch instead of the bar, if it is not None.
    """

    def __init__(self, progress: Progress, epochs: int, lines: TextIO | None = None) -> None:
        self._progress, self._lines = progress, lines
        self._task = progress.add_task("starting", total=STEPS + epochs)
        self._done = 0

    def step(self, description: str) -> None:
        """Start a step, and mark the steps before it as complete."""
        self._progress.update(self._task, description=description, completed=self._done)
        self._line(description)
        self._done += 1

    def on_train_begin(self, start: TrainStart) -> None:
        """Count all epochs as done for the next step: training can end before the last one."""
        self._epochs = start.config.epochs
        self._done += self._epochs

    def on_epoch_end(self, metrics: Metrics) -> None:
        """Show an epoch that has ended."""
        recall = f"validation recall@20 {metrics['recall@20']:.4f}"
        text = f"training: epoch {metrics['epoch']:.0f}, {recall}"
        self._progress.update(self._task, description=text, advance=1)
        self._line(f"epoch {metrics['epoch']:.0f} of at most {self._epochs}, {recall}")

    def _line(self, text: str) -> None:
        if self._lines:
            self._lines.write(f"fit: {text}\n")
            self._lines.flush()


class Audible(Callback):
    """Calls a callback of the user with the standard streams that `quiet` has replaced, so that its prints appear.

    Args:
        callback: The user's callback.
        streams: The real standard output and standard error.
    """

    def __init__(self, callback: Callback, streams: tuple[TextIO, TextIO]) -> None:
        self._callback, self._streams = callback, streams

    def on_train_begin(self, start: TrainStart) -> None:
        with self._audible():
            call([self._callback], "on_train_begin", start)

    def on_epoch_end(self, metrics: Metrics) -> None:
        with self._audible():
            call([self._callback], "on_epoch_end", metrics)

    def on_train_end(self, result: Mapping[str, Any]) -> None:
        with self._audible():
            call([self._callback], "on_train_end", result)

    @contextmanager
    def _audible(self) -> Iterator[None]:
        out, err = self._streams
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield


@contextmanager
def progress_bar(verbose: bool, epochs: int) -> Iterator[Bar]:
    """Show the progress of `fit` on standard error, and suppress the output of the steps.

    Args:
        verbose: Show a bar on a terminal or in a notebook, and lines elsewhere. If not, show nothing.
        epochs: The maximum number of epochs.
    """
    stderr = sys.stderr
    console = Console(file=stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    interactive = console.is_terminal or console.is_jupyter
    progress = Progress(
        *columns, console=console, disable=not (verbose and interactive), redirect_stdout=False, redirect_stderr=False
    )
    with progress, quiet():
        yield Bar(progress, epochs, stderr if verbose and not interactive else None)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the log lines that the steps print for `two-tower run`."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
