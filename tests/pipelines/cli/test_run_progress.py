"""Progress of a local run: the current step and the time left."""

import io
import json
import time
from pathlib import Path

import pytest

from pipelines.cli import progress
from pipelines.cli.console import plain_console
from pipelines.cli.run_progress import RunProgress
from pipelines.local.runner import Step


@pytest.fixture
def file(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.05)
    return io.StringIO()


def last_line(file, folder: Path, *steps: str) -> str:
    """The line for the last step that starts, after the delay."""
    with RunProgress.open(plain_console(file=file), folder, 4) as one:
        for name in steps[:-1]:
            one.on_line(Step(name, seconds=1), None)
        one.on_start(Step(steps[-1]))
        time.sleep(0.3)
    return file.getvalue().splitlines()[-1]


def test_the_time_left_is_estimated_from_the_last_run(file, tmp_path):
    times = {"pull": 10.0, "train": 40.0, "export": 20.0}
    steps = [{"name": name, "seconds": seconds, "cached": False} for name, seconds in times.items()]
    (tmp_path / "run.json").write_text(json.dumps({"steps": steps}))
    assert last_line(file, tmp_path, "pull", "train") == "train, step 2 of 4, about 60 s left …"


@pytest.mark.parametrize("text", ["", "{}", '{"steps": [{"name": "train", "seconds": 0.0, "cached": true}]}'])
def test_an_unreadable_record_gives_no_estimate(file, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    assert last_line(file, tmp_path, "train") == "train, step 1 of 4 …"


def test_the_first_run_has_no_estimate(file, tmp_path):
    assert last_line(file, tmp_path, "train") == "train, step 1 of 4 …"
