"""Progress of a local run: its steps, the lines that they print, and the time that is left."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rich.console import Console

from pipelines.cli.console import labelled
from pipelines.cli.progress import Progress, same_file
from pipelines.local.runner import Step


class RunProgress:
    """Prints the steps of a run.

    Args:
        console: Console for the output. It needs a file of its own, because kfp's output is captured.
        line: Shows the current step.
        total: Number of steps.
        last_run: Seconds of each step in the last run, None for a reused one; the time left is estimated from them.
    """

    def __init__(self, console: Console, line: Progress, total: int, last_run: Mapping[str, float | None]) -> None:
        self._console, self._line, self._total, self._last_run = console, line, total, last_run
        self._ended: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, console: Console, folder: Path, total: int) -> Iterator[Self]:
        """Show the progress of a run of `total` steps in `folder`, which may hold the run.json of an earlier run."""
        own = same_file(console)
        with Progress(own) as line:
            line.start("starting")
            yield cls(own, line, total, _last_run(folder))

    def on_start(self, step: Step) -> None:
        """Show a step that starts."""
        rest = [seconds for name, seconds in self._last_run.items() if name not in self._ended]
        known = [seconds for seconds in rest if seconds is not None]
        left = sum(known) if step.name in self._last_run and len(known) == len(rest) else None
        self._line.start(f"{step.name}, step {len(self._ended) + 1} of {self._total}", left)

    def on_line(self, step: Step, line: str | None) -> None:
        """Print a line of a step, or, without a line, that it has ended."""
        if line is not None:
            self._console.print(labelled(f"    {line}", "dim"), soft_wrap=True)
            return
        self._line.stop()
        self._ended.append(step.name)
        if step.cached:
            self._console.print(labelled("=", "cyan", f" {step.name:<15} reused"))
        else:
            mark = ("✗", "red") if step.failed else ("✓", "green")
            self._console.print(labelled(*mark, f" {step.name:<15} {step.seconds:.1f} s"))


def _last_run(folder: Path) -> dict[str, float | None]:
    """Seconds of each step in the last run in this folder; empty if there is none."""
    record = folder / "run.json"
    if not record.is_file():
        return {}
    try:
        steps = json.loads(record.read_text())["steps"]
        return {step["name"]: None if step["cached"] else step["seconds"] for step in steps}
    except (ValueError, KeyError):  # written by another version, or incomplete: the time left is not known
        return {}
