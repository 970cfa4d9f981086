"""Pipelines on this machine, through kfp's local runner, with a log that a person can read.

kfp prints everything it does, and a failed step as a wall of executor output. Here each step is a line with its
seconds, its own output is indented below it, the whole log goes to a file, and a failure shows what the step itself
said last.
"""

import contextlib
import io
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
_ENDED = re.compile(r"^Task '([^']+)' finished with status (\w+)")
_CACHED = re.compile(r"^Task (\S+) cache hit")
_OWN_ERROR = re.compile(r"^two_tower\.[\w.]*?(\w+Error): ")
_EXECUTOR = re.compile(r"^\[KFP Executor")


@dataclass
class Step:
    """One executed or reused step.

    cpu_seconds, peak_memory_mb: of its process and the processes that it started; those of a step in a container are
    the engine's, and zero here. lines: what it printed, executor noise left out.
    """

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    cached: bool = False
    failed: bool = False
    lines: list[str] = field(default_factory=list)

    def error(self) -> tuple[str, str] | None:
        """The class name and message of the project's own error that ended the step, if one did."""
        for number in range(len(self.lines) - 1, -1, -1):
            if match := _OWN_ERROR.match(self.lines[number]):
                return match[1], "\n".join(self.lines[number:])[match.end() :].strip()
        return None


@dataclass(frozen=True)
class LocalRun:
    """What came of a run. output: what the pipeline returned, None after a failure."""

    folder: Path
    steps: list[Step]
    output: Any

    @property
    def failed(self) -> Step | None:
        return next((step for step in self.steps if step.failed), None)


class PeakMemory:
    """Watches how much memory all processes below this one hold together."""

    EVERY = 0.2  # seconds

    def start(self) -> None:
        self._peak, self._over = 0, threading.Event()
        self._watch = threading.Thread(target=self._watching, daemon=True)
        self._watch.start()

    def stop(self) -> float:
        """The most since `start`, in MB."""
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
    except psutil.NoSuchProcess:  # it ended while it was looked at
        return 0


def _children_cpu() -> float:
    """Processor seconds of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class StepLog(io.TextIOBase):
    """Stands in for stdout while kfp runs: keeps the whole log in a file and tells `tell` about steps and lines."""

    def __init__(
        self,
        file: io.TextIOBase,
        names: dict[str, str],
        tell: Callable[[Step, str | None], None],
        began: Callable[[Step], None],
    ) -> None:
        self.file, self.names, self._tell, self._began = file, names, tell, began
        self._stdout = sys.stdout  # the real one, for what is told
        self.steps: list[Step] = []
        self._pending = ""
        self._started = self._cpu = 0.0
        self._memory = PeakMemory()
        self._speaking = False  # the step's own code runs: after the executor has printed its input

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
            self.tell(self.steps[-1], None)
        elif plain == message:
            self._own_line(plain.removeprefix("    "))
        elif match := _STARTED.match(message):
            self.steps.append(Step(self.names.get(match[1], match[1])))
            self._started, self._cpu = time.monotonic(), _children_cpu()
            self._memory.start()
            self._speaking = False
            self._began(self.steps[-1])
        elif match := _ENDED.match(message):
            step, self._speaking = self.steps[-1], False
            step.seconds, step.cpu_seconds = time.monotonic() - self._started, _children_cpu() - self._cpu
            step.peak_memory_mb = self._memory.stop()
            step.failed = match[2] != "SUCCESS"
            self.tell(step, None)

    def tell(self, step: Step, line: str | None) -> None:
        with contextlib.redirect_stdout(self._stdout):
            self._tell(step, line)

    def _own_line(self, line: str) -> None:
        if self._speaking and line.strip() and not _EXECUTOR.match(line):
            self.steps[-1].lines.append(line)
            self.tell(self.steps[-1], line)
        elif line == "}":  # the end of the executor's input, printed as JSON
            self._speaking = True


def run(
    pipeline: BaseComponent,
    arguments: dict[str, str],
    folder: Path,
    tell: Callable[[Step, str | None], None],
    runner: local.DockerRunner | None = None,
    began: Callable[[Step], None] = lambda _: None,
) -> LocalRun:
    """Run a pipeline step by step: in subprocesses of this interpreter, or by `runner` in containers.

    folder: takes the artifacts (`pipeline/`), the cache and `run.log`.
    tell: called with (step, a line it printed) and, when it ends or is reused, with (step, None). began: called when a
    step begins; the standard output is not the real one then.
    """
    artifacts = folder / "pipeline" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    artifacts.mkdir(parents=True)
    local.init(
        runner=runner or local.SubprocessRunner(use_venv=False),
        pipeline_root=str(artifacts),
        enable_caching=True,
        cache_root=str(folder / "pipeline" / "cache"),
    )
    # Where steps share their cores, a thread of OpenMP that spins for the others keeps them from finishing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with (folder / "run.log").open("w") as file:
        log = StepLog(file, display_names(pipeline), tell, began)
        try:
            with _captured(log):
                output = pipeline(**arguments).outputs.get("Output")
        except RuntimeError:
            if not any(step.failed for step in log.steps):
                raise
            output = None
    return LocalRun(artifacts, log.steps, output)


def display_names(pipeline: BaseComponent) -> dict[str, str]:
    """Kfp's name of each step (`gate-2`) → the one the pipeline gave it (`parity-gate`)."""
    return {name: task.task_info.name for name, task in pipeline.pipeline_spec.root.dag.tasks.items()}


def artifact(run: LocalRun, step: str, name: str) -> Path:
    """Where a step that ran, and was not reused, leaves an artifact; it may not be there."""
    return next(run.folder.glob(f"*/{step}/{name}"), run.folder / step / name)


@contextlib.contextmanager
def _captured(log: StepLog) -> Iterator[None]:
    """Kfp logs some lines through the root logger and prints the others; both go to the log."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("00:00:00.000 - %(levelname)s - %(message)s"))
    root.handlers, root.level = [handler], logging.INFO
    try:
        with contextlib.redirect_stdout(log), warnings.catch_warnings():
            # Resources and display names mean nothing to a local runner: that is known, and no news.
            warnings.filterwarnings("ignore", module="kfp.local")
            warnings.filterwarnings("ignore", message=".*local runner.*")
            yield
    finally:
        root.handlers, root.level = handlers, level
