"""The line, once, in its images; `make images` has made them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Done:
    """What a run of the line left."""

    out: Path
    said: str
    record: dict[str, Any]


def two_tower(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run on the simulated world, every step in its container."""
    out = tmp_path_factory.mktemp("line") / "out"
    done = two_tower("run", "--dataset", "sample", "--runner", "docker", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return Done(out, done.stdout, json.loads((out / "run.json").read_text()))
