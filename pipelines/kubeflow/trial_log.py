"""What a search shows while it runs: a line a trial and what is left of the time; the trainer's lines go to a file."""

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from two_tower.tuning.tried import Tried


class TrialLog(io.TextIOBase):
    """A stream for all that the steps print: it goes to a file, and its last line beside the clock on a terminal."""

    def __init__(self, console: Console, status: Status, file: TextIO, trials: int) -> None:
        self._console, self._status, self._file, self._trials = console, status, file, trials
        self._what, self._line = "", ""
        self._best: Tried | None = None
        self._made, self._since = 0, 0.0

    @classmethod
    @contextlib.contextmanager
    def on(cls, out: Console, file: Path, trials: int) -> Iterator["TrialLog"]:
        """Standard output goes here while the block lasts."""
        # The console's stream as it is now: once standard output is redirected, the console would follow it.
        console = Console(file=out.file, highlight=False)
        with file.open("a") as opened, console.status("") as status:
            log = cls(console, status, opened, trials)
            with contextlib.redirect_stdout(log):
                yield log

    def write(self, text: str) -> int:
        self._file.write(text)
        self._file.flush()
        *whole, self._line = (self._line + text).split("\n")
        if whole and whole[-1].strip():
            self._status.update(f"{self._what}: [dim]{escape(whole[-1].strip())}[/]")
        return len(text)

    def began(self, what: str, tried: Sequence[Tried] = ()) -> None:
        """Say what is under way; tried: the trials of an earlier process."""
        self._what, self._since = what, time.monotonic()
        self._status.update(what)
        for one in tried:
            self._best = _better(self._best, one)
        if tried:
            self._console.print(f"going on after {len(tried)} trials, the best {_figure(self._best)}")

    def ended(self, one: Tried) -> None:
        """A line of a trial that has ended."""
        self._made += 1
        self._best = _better(self._best, one)
        result = {
            "finished": f"{one.value:.4f}" if one.value is not None else "",
            "pruned": f"given up, {len(one.curve)} epochs",
            "unfit": "could not be trained",
        }[one.state]
        left = (time.monotonic() - self._since) / self._made * max(0, self._trials - one.number)
        self._console.print(
            f"trial {one.number:>3}/{self._trials}  {result:<20} {one.seconds:>5.0f} s"
            f"  best {_figure(self._best)}  {_minutes(left)} left"
        )


def _better(best: Tried | None, one: Tried) -> Tried | None:
    if one.value is None or (best is not None and best.value is not None and best.value >= one.value):
        return best
    return one


def _figure(best: Tried | None) -> str:
    return f"{best.value:.4f} (trial {best.number})" if best and best.value is not None else "none yet"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
