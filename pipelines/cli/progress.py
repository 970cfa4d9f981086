"""Progress of an activity that takes long.

On a terminal one line counts the seconds and, if it is known, shows the time that is left. A file or a pipe gets one
plain line, and only for an activity that takes longer than two seconds.
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

from pipelines.cli.console import plain_console

DELAY = 2.0  # seconds until a line is printed to a file or a pipe
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass
class Progress:
    """Context that shows the current activity.

    Attributes:
        console: Console for the output. Its file must stay the same while the context lasts.
    """

    console: Console
    _activity: str = field(default="", init=False)
    _left: float | None = field(default=None, init=False)  # seconds, at `_since`
    _since: float = field(default=0.0, init=False)
    _started: float = field(default=0.0, init=False)
    _live: Live | None = field(default=None, init=False)
    _timer: threading.Timer | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def start(self, activity: str, left: float | None = None) -> None:
        """Replace the current activity.

        Args:
            activity: Description of the activity.
            left: Seconds until everything is done, None if not known.
        """
        self.stop()
        with self._lock:
            self._activity, self._left, self._since = activity, left, time.monotonic()
        if self._live is None:
            self._timer = threading.Timer(DELAY, self._print_once)
            self._timer.daemon = True
            self._timer.start()

    def part(self, activity: str, number: int, total: int) -> None:
        """Replace the current activity by part `number` of `total`; the time left follows from the parts before."""
        elapsed = time.monotonic() - self._started
        left = elapsed / (number - 1) * (total - number + 1) if number > 1 else None
        self.start(f"{activity} ({number} of {total})", left)

    def stop(self) -> None:
        """End the current activity."""
        if self._timer:
            self._timer.cancel()
        with self._lock:
            self._activity = ""

    def line(self, now: float) -> str:
        """The text to show at a time of the monotonic clock."""
        with self._lock:
            if not self._activity:
                return ""
            elapsed = now - self._since
            text = f"{self._activity}  {elapsed:.0f} s"
            if self._left is None or elapsed >= self._left:
                return text
            return f"{text}, about {duration(self._left - elapsed)} left"

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            self._live = Live(
                get_renderable=self._render,
                console=self.console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._live:
            self._live.stop()

    def _render(self) -> Text:
        now = time.monotonic()
        text = self.line(now)
        return Text(f"{_FRAMES[int(8 * now) % len(_FRAMES)]} {text}" if text else "", style="dim", no_wrap=True)

    def _print_once(self) -> None:
        with self._lock:
            activity, left = self._activity, self._left
        if activity:
            about = f", about {duration(left - DELAY)} left" if left and left > DELAY else ""
            self.console.print(f"{activity}{about} …", soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 40 s, 3 min, 1 h 20 min."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def same_file(console: Console) -> Console:
    """A console that keeps writing to the present file of `console`, even if stdout or stderr is redirected later."""
    return plain_console(file=console.file, quiet=console.quiet)


@contextmanager
def progress(console: Console, activity: str) -> Iterator[Progress]:
    """Show an activity on `console` for as long as the context lasts."""
    with Progress(same_file(console)) as line:
        line.start(activity)
        yield line
