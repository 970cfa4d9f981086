"""Whole runs through the command line, as a user starts them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from two_tower.datasets.prepare import prepare


@dataclass(frozen=True)
class Ran:
    """One finished run."""

    status: int
    stdout: str
    stderr: str
    out: Path

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.out / "run.json").read_text())

    def cached(self) -> dict[str, bool]:
        return {step["name"]: step["cached"] for step in self.record["steps"]}


@pytest.fixture(scope="session")
def run() -> Callable[..., Ran]:
    def start(out: Path, *arguments: str) -> Ran:
        command = [sys.executable, "-m", "pipelines", "run", "--out", str(out), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        return Ran(done.returncode, done.stdout, done.stderr, out)

    return start


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A feature repository of a user's own: the checkerboard's, free to damage."""
    folder = tmp_path / "shop"
    prepare("checkerboard", None, folder)
    return folder
