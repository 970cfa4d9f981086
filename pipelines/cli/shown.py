"""A local run as it is shown: its steps as they end, what they say, and how long the rest will take."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape

from pipelines.cli.waiting import Waiting
from pipelines.local.runner import Step


class Shown:
    """out: where, with a file of its own, for kfp's output is caught meanwhile. took: seconds of each step in the last
    run, None of one that was reused; from them is told what is left.
    """

    def __init__(self, out: Console, line: Waiting, steps: int, took: Mapping[str, float | None]) -> None:
        self._out, self._line, self._steps, self._took = out, line, steps, took
        self._ended: list[str] = []

    @classmethod
    @contextmanager
    def on(cls, console: Console, folder: Path, steps: int) -> Iterator[Self]:
        """folder: of the run, which may hold the record of an earlier one. steps: how many there are."""
        out = Console(file=console.file, highlight=False)
        with Waiting(out) as line:
            line.now("starting")
            yield cls(out, line, steps, _last(folder))

    def began(self, step: Step) -> None:
        rest = [seconds for name, seconds in self._took.items() if name not in self._ended]
        known = [seconds for seconds in rest if seconds is not None]
        left = sum(known) if step.name in self._took and len(known) == len(rest) else None
        self._line.now(f"{step.name}, step {len(self._ended) + 1} of {self._steps}", left)

    def tell(self, step: Step, line: str | None) -> None:
        """Print a step's own lines as they come and a summary line when it ends."""
        if line is not None:
            self._out.print(f"    [dim]{escape(line)}[/]", soft_wrap=True)
            return
        self._line.quiet()
        self._ended.append(step.name)
        if step.cached:
            self._out.print(f"[cyan]=[/] {step.name:<15} reused")
        else:
            mark = "[red]✗[/]" if step.failed else "[green]✓[/]"
            self._out.print(f"{mark} {step.name:<15} {step.seconds:.1f} s")


def _last(folder: Path) -> dict[str, float | None]:
    """Seconds of each step in the run before in this folder; none where there was none."""
    record = folder / "run.json"
    if not record.is_file():
        return {}
    try:
        steps = json.loads(record.read_text())["steps"]
        return {step["name"]: None if step["cached"] else step["seconds"] for step in steps}
    except (ValueError, KeyError):  # of another version, or cut short: then nobody knows how long it takes
        return {}
