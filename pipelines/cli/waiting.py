"""What a person looks at while something takes long.

On a terminal it is a line that counts the seconds and, as soon as that can be told, says how many are left. In a file
or a pipe a line that changes would be many lines: there it is one, of what takes longer than two seconds.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

SOON = 2.0  # seconds after which one wonders
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass
class Waiting:
    """A context in which `now` says what is done. console: where; its file must not be replaced meanwhile."""

    console: Console
    _what: str = field(default="", init=False)
    _left: float | None = field(default=None, init=False)  # seconds, at `_since`
    _since: float = field(default=0.0, init=False)
    _began: float = field(default=0.0, init=False)
    _live: Live | None = field(default=None, init=False)
    _timer: threading.Timer | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def now(self, what: str, left: float | None = None) -> None:
        """From now on this is done. left: seconds that all of it will still take; None where nobody knows."""
        self.quiet()
        with self._lock:
            self._what, self._left, self._since = what, left, time.monotonic()
        if self._live is None:
            self._timer = threading.Timer(SOON, self._say)
            self._timer.daemon = True
            self._timer.start()

    def part(self, what: str, number: int, of: int) -> None:
        """From now on this is done, one part of so many; how long those before it took tells what is left."""
        took = time.monotonic() - self._began
        self.now(f"{what} ({number} of {of})", took / (number - 1) * (of - number + 1) if number > 1 else None)

    def quiet(self) -> None:
        """From now on nothing is waited for."""
        if self._timer:
            self._timer.cancel()
        with self._lock:
            self._what = ""

    def line(self, at: float) -> str:
        """What is shown at an instant of the monotonic clock."""
        with self._lock:
            if not self._what:
                return ""
            passed = at - self._since
            told = f"{self._what}  {passed:.0f} s"
            if self._left is None or passed >= self._left:
                return told
            return f"{told}, about {duration(self._left - passed)} left"

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._shown,
                console=self.console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.quiet()
        if self._live:
            self._live.stop()

    def _shown(self) -> Text:
        at = time.monotonic()
        told = self.line(at)
        return Text(f"{_FRAMES[int(8 * at) % len(_FRAMES)]} {told}" if told else "", style="dim", no_wrap=True)

    def _say(self) -> None:
        with self._lock:
            what, left = self._what, self._left
        if what:
            about = f", about {duration(left - SOON)} left" if left and left > SOON else ""
            self.console.print(f"{what}{about} …", markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """For people: 40 s, 3 min, 1 h 20 min."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def waiting(console: Console, what: str) -> Iterator[Waiting]:
    """A line on `console`, in its present file, for as long as the context lasts."""
    with Waiting(Console(file=console.file, highlight=False)) as line:
        line.now(what)
        yield line
