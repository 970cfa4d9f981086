"""Whole runs through the command line, as a user starts them."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.inputs.warm import Lane
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
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ran]]:
    """A function that runs `two-tower run`, its steps forked from one process: most of a small run is imports."""
    folder = tmp_path_factory.mktemp("runs")
    lane = Lane(folder / "lane.log")
    logs = itertools.count()

    def start(out: Path, *arguments: str) -> Ran:
        log = folder / f"{next(logs)}.log"
        errors = log.with_suffix(".err")
        status = lane.run(["run", "--out", str(out), *arguments], Path.cwd(), log, errors=errors)
        return Ran(status, log.read_text(), errors.read_text(), out)

    yield start
    lane.close()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A feature repository of a user's own: the checkerboard's, free to damage."""
    folder = tmp_path / "shop"
    prepare("checkerboard", None, folder)
    return folder
