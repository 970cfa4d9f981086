"""Pipelines on this machine, through kfp's local runner, with readable output.

kfp prints all that it does, and the full output of the executor if a step fails. Here each step is one line with its
seconds, the lines that the step prints are indented below it without tracebacks, and the full log goes to a file.
"""

import contextlib
import io
import itertools
import logging
import os
import re
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from kfp import local
from kfp.dsl.base_component import BaseComponent

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} - [A-Z]+ - ")
_STARTED = re.compile(r"^Executing task '([^']+)'")
_FINISHED = re.compile(r"^Task '([^']+)' finished with status (\w+)")
_CACHED = re.compile(r"^Task (\S+) cache hit")
_OWN_ERROR = re.compile(r"^two_tower\.[\w.]*?(\w+Error): ")
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_EXECUTOR = re.compile(r"^\[KFP Executor")


@dataclass
class Step:
    """One executed or reused step.

    Attributes:
        name: Name that the pipeline gives it.
        seconds: Wall-clock time.
        cpu_seconds: CPU time of its process and the child processes; 0 for a step in a container.
        peak_memory_mb: Resident memory of the same processes, in MB; 0 for a step in a container.
        cached: Whether the step was reused from the cache.
        failed: Whether the step failed.
        lines: Lines that the step printed, without those of kfp's executor.
    """

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    cached: bool = False
    failed: bool = False
    lines: list[str] = field(default_factory=list)

    def error(self) -> tuple[str, str] | None:
        """Class name and message of the error of this project that ended the step, None if there is none."""
        for number in range(len(self.lines) - 1, -1, -1):
            if match := _OWN_ERROR.match(self.lines[number]):
                return match[1], "\n".join(self.lines[number:])[match.end() :].strip()
        return None

    def fault(self) -> str:
        """The exception that ended the step, without its traceback; else its last lines."""
        starts = [number for number, line in enumerate(self.lines) if line == _TRACEBACK]
        if not starts:
            return "\n".join(self.lines[-15:]) or "the step printed nothing; it was probably killed for memory"
        after = self.lines[starts[-1] + 1 :]
        return "\n".join(itertools.dropwhile(lambda line: line.startswith(" "), after))

    def traceback(self) -> str:
        """The lines from the first traceback on."""
        return "\n".join(itertools.dropwhile(lambda line: line != _TRACEBACK, self.lines))


@dataclass(frozen=True)
class LocalRun:
    """Result of a run.

    Attributes:
        folder: Artifacts of the run.
        steps: Steps in the order of execution.
        output: Return value of the pipeline, None after a failure.
    """

    folder: Path
    steps: list[Step]
    output: Any

    @property
    def failed(self) -> Step | None:
        return next((step for step in self.steps if step.failed), None)


class PeakMemory:
    """Measures the peak of the resident memory of all child processes together."""

    EVERY = 0.2  # seconds

    def start(self) -> None:
        self._peak, self._over = 0, threading.Event()
        self._watch = threading.Thread(target=self._watching, daemon=True)
        self._watch.start()

    def stop(self) -> float:
        """The peak since `start`, in MB."""
        self._over.set()
        self._watch.join()
        return self._peak / 1e6

    def _watching(self) -> None:
        own = psutil.Process()
        while not self._over.wait(self.EVERY):
            self._peak = max(self._peak, sum(map(_resident, own.children(recursive=True))))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # the process has ended meanwhile
        return 0


def _children_cpu() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class StepLog(io.TextIOBase):
    """Replaces stdout while kfp runs: writes the full log to a file and reports steps and lines to callbacks."""

    def __init__(
        self,
        file: io.TextIOBase,
        names: dict[str, str],
        on_line: Callable[[Step, str | None], None],
        on_start: Callable[[Step], None],
    ) -> None:
        self.file, self.names, self._on_line, self._on_start = file, names, on_line, on_start
        self._stdout = sys.stdout  # the real one, for the callbacks
        self.steps: list[Step] = []
        self._pending = ""
        self._started = self._cpu = 0.0
        self._memory = PeakMemory()
        self._in_step = False  # the code of the step runs: the executor has printed its input
        self._in_traceback = False

    def write(self, text: str) -> int:
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self.line(line)
        return len(text)

    def line(self, raw: str) -> None:
        plain = _COLOUR.sub("", raw)
        self.file.write(plain + "\n")
        self.file.flush()
        message = _STAMP.sub("", plain)
        if match := _CACHED.match(message):
            self.steps.append(Step(self.names.get(match[1], match[1]), cached=True))
            self._report(self.steps[-1], None)
        elif plain == message:
            self._own_line(plain.removeprefix("    "))
        elif match := _STARTED.match(message):
            self.steps.append(Step(self.names.get(match[1], match[1])))
            self._started, self._cpu = time.monotonic(), _children_cpu()
            self._memory.start()
            self._in_step = False
            self._on_start(self.steps[-1])
        elif match := _FINISHED.match(message):
            step, self._in_step = self.steps[-1], False
            step.seconds, step.cpu_seconds = time.monotonic() - self._started, _children_cpu() - self._cpu
            step.peak_memory_mb = self._memory.stop()
            step.failed = match[2] != "SUCCESS"
            self._report(step, None)

    def _report(self, step: Step, line: str | None) -> None:
        with contextlib.redirect_stdout(self._stdout):
            self._on_line(step, line)

    def _own_line(self, line: str) -> None:
        if self._in_step and line.strip() and not _EXECUTOR.match(line):
            self.steps[-1].lines.append(line)
            self._in_traceback, shown = _after(line, in_traceback=self._in_traceback)
            if shown:
                self._report(self.steps[-1], line)
        elif line == "}":  # the end of the executor's input, printed as JSON
            self._in_step = True


def _after(line: str, *, in_traceback: bool) -> tuple[bool, bool]:
    """Whether the traceback goes on after a line of a step, and whether to show the line: tracebacks are in run.log."""
    if in_traceback:
        return line.startswith(" "), False
    return line == _TRACEBACK, line != _TRACEBACK and line not in _CHAINED


def run(
    pipeline: BaseComponent,
    arguments: dict[str, str],
    folder: Path,
    on_line: Callable[[Step, str | None], None],
    runner: local.DockerRunner | None = None,
    on_start: Callable[[Step], None] = lambda _: None,
) -> LocalRun:
    """Run a pipeline step by step, in subprocesses of this interpreter or in containers.

    Args:
        pipeline: Compiled pipeline.
        arguments: Parameters of the pipeline.
        folder: Receives the artifacts (`pipeline/`), the cache and `run.log`.
        on_line: Called with (step, line) for each line that a step prints, and with (step, None) when a step ends or is
            reused.
        runner: Runs each step in its container; None for subprocesses.
        on_start: Called when a step starts, while stdout is captured.

    Raises:
        RuntimeError: kfp failed outside the steps.
    """
    artifacts = folder / "pipeline" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    artifacts.mkdir(parents=True)
    local.init(
        runner=runner or local.SubprocessRunner(use_venv=False),
        pipeline_root=str(artifacts),
        enable_caching=True,
        cache_root=str(folder / "pipeline" / "cache"),
    )
    # If steps share their cores, an OpenMP thread that spins while it waits slows the others down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with (folder / "run.log").open("w") as file:
        log = StepLog(file, display_names(pipeline), on_line, on_start)
        try:
            with _captured(log):
                output = pipeline(**arguments).outputs.get("Output")
        except RuntimeError:
            if not any(step.failed for step in log.steps):
                raise
            output = None
    return LocalRun(artifacts, log.steps, output)


def display_names(pipeline: BaseComponent) -> dict[str, str]:
    """Map kfp's name of each step (`gate-2`) to the name that the pipeline gives it (`parity-gate`)."""
    return {name: task.task_info.name for name, task in pipeline.pipeline_spec.root.dag.tasks.items()}


def artifact(run: LocalRun, step: str, name: str) -> Path:
    """Path of an artifact of a step that ran and was not reused. The path may not exist."""
    return next(run.folder.glob(f"*/{step}/{name}"), run.folder / step / name)


@contextlib.contextmanager
def _captured(log: StepLog) -> Iterator[None]:
    """Capture kfp's output: it logs some lines through the root logger and prints the others."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("00:00:00.000 - %(levelname)s - %(message)s"))
    root.handlers, root.level = [handler], logging.INFO
    try:
        with contextlib.redirect_stdout(log), warnings.catch_warnings():
            # A local runner ignores resources and display names, and warns each time.
            warnings.filterwarnings("ignore", module="kfp.local")
            warnings.filterwarnings("ignore", message=".*local runner.*")
            yield
    finally:
        root.handlers, root.level = handlers, level
