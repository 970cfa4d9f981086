"""Progress of a search: one line per trial and the time left; the output of the training goes to a file."""

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from pipelines.cli.progress import same_file
from two_tower.tuning.trial import TrialResult


class TrialLog(io.TextIOBase):
    """Stream for the output of the training: it goes to a file, and its last line is shown on a terminal."""

    def __init__(self, console: Console, status: Status, file: TextIO, trials: int) -> None:
        self._console, self._status, self._file, self._trials = console, status, file, trials
        self._activity, self._line = "", ""
        self._best: TrialResult | None = None
        self._ended, self._since = 0, 0.0

    @classmethod
    @contextlib.contextmanager
    def open(cls, out: Console, file: Path, trials: int) -> Iterator["TrialLog"]:
        """Redirect stdout to this log for as long as the context lasts."""
        console = same_file(out)
        with file.open("a") as opened, console.status("") as status:
            log = cls(console, status, opened, trials)
            with contextlib.redirect_stdout(log):
                yield log

    def write(self, text: str) -> int:
        self._file.write(text)
        self._file.flush()
        *lines, self._line = (self._line + text).split("\n")
        if lines and lines[-1].strip():
            self._status.update(Text.assemble(f"{self._activity}: ", (lines[-1].strip(), "dim")))
        return len(text)

    def start(self, activity: str, trials: Sequence[TrialResult] = ()) -> None:
        """Show an activity. trials: trials of an earlier call."""
        self._activity, self._since = activity, time.monotonic()
        self._status.update(activity)
        for one in trials:
            self._best = _better(self._best, one)
        if trials:
            self._console.print(f"resuming after {len(trials)} trials, best {_figure(self._best)}")

    def on_trial(self, one: TrialResult) -> None:
        """Print the line of a trial that has ended."""
        self._ended += 1
        self._best = _better(self._best, one)
        result = {
            "finished": f"{one.value:.4f}" if one.value is not None else "",
            "pruned": f"pruned, {len(one.curve)} epochs",
            "unfit": "training failed",
        }[one.state]
        left = (time.monotonic() - self._since) / self._ended * max(0, self._trials - one.number)
        self._console.print(
            f"trial {one.number:>3}/{self._trials}  {result:<20} {one.seconds:>5.0f} s"
            f"  best {_figure(self._best)}  {_minutes(left)} left"
        )


def _better(best: TrialResult | None, one: TrialResult) -> TrialResult | None:
    if one.value is None or (best is not None and best.value is not None and best.value >= one.value):
        return best
    return one


def _figure(best: TrialResult | None) -> str:
    return f"{best.value:.4f} (trial {best.number})" if best and best.value is not None else "none yet"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
