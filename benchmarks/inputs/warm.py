"""Run `two-tower` commands in processes forked from one that has imported the libraries.

The steps of a run are separate processes, and each imports Feast, torch and Great Expectations: four fifths of the CPU
time of a run on a small input. Here the same steps, with the same arguments, are forked from this process.
"""

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = (
    "pipelines.cli.main",
    "pipelines.local.run",
    "two_tower.checks.expectations",
    "two_tower.checks.leaks",
    "two_tower.data.features",
    "two_tower.deployment.deploy",
    "two_tower.evaluation.evaluate",
    "two_tower.exporting.export",
    "two_tower.recommender.recommender",
    "two_tower.report",
    "two_tower.training.train",
)


class Lane:
    """A process that runs one command at a time, each in a process of its own.

    Args:
        log: Receives the output of the lane itself.
    """

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.inputs.warm"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
    ) -> int:
        """Run `two-tower` in a folder, and return its exit status.

        Args:
            arguments: Arguments of the command line.
            folder: The working directory.
            log: Receives stdout, at the end of the file.
            environment: Added to the environment of this process.
            errors: Receives stderr. None: `log`.
        """
        request = {"call": "command", "arguments": list(arguments), "errors": str(errors or log)}
        return self._send(request, folder, log, environment)

    def judge(self, folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Run `benchmarks.inputs.judge` on the repository and the releases in a folder; see `run`."""
        return self._send({"call": "judge", "arguments": [], "errors": str(log)}, folder, log, environment)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)

    def _send(self, request: dict[str, Any], folder: Path, log: Path, environment: Mapping[str, str] | None) -> int:
        assert self._process.stdin and self._process.stdout
        line = {**request, "folder": str(folder), "log": str(log), "environment": dict(environment or {})}
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve() -> None:
    """Import the libraries, then run each command that arrives on stdin and print its exit status."""
    statuses = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        with Path(request["log"]).open("ab") as output, Path(request["errors"]).open("ab") as errors:
            pid = _fork(lambda: _call(request), output.fileno(), errors.fileno())  # noqa: B023 - called at once
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, file=statuses, flush=True)


def _call(request: dict[str, Any]) -> int:
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    sys.argv = ["two-tower", *request["arguments"]]
    if request["call"] == "judge":
        from benchmarks.inputs.judge import main
    else:
        from kfp.local import subprocess_task_handler

        from pipelines.cli.main import main  # type: ignore[assignment]

        subprocess_task_handler.run_local_subprocess = _run_step
    try:
        main()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else bool(exit_.code)
    return 0


def _run_step(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
    """Run a step as kfp's `run_local_subprocess` does: print its output, return its exit status."""
    source = next(part for part in full_command if "def " in part and "import kfp" in part)
    arguments = full_command[full_command.index(source) + 1 :]
    read, write = os.pipe()
    with os.fdopen(read) as output:
        pid = _fork(lambda: _step(source, arguments, env_vars or {}), write, write, closing=read)
        os.close(write)
        for line in output:
            print(line, end="")
        print("\n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _step(source: str, arguments: list[str], environment: Mapping[str, str]) -> int:
    from kfp.dsl.executor_main import executor_main

    os.environ.update(environment)
    logging.getLogger().handlers.clear()  # those of the command; kfp's executor adds its own
    with tempfile.TemporaryDirectory() as folder:
        component = Path(folder) / "ephemeral_component.py"
        component.write_text(source)
        sys.argv = ["executor_main", "--component_module_path", str(component), *arguments]
        executor_main()
    return 0


def _fork(call: Callable[[], int], output: int, errors: int, closing: int | None = None) -> int:
    """Run a call in a forked process whose stdout and stderr go to file descriptors; returns its process id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 1
    try:
        if closing is not None:
            os.close(closing)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        status = call()
    except BaseException:  # noqa: BLE001 - the end of a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
