"""What is shown while something takes long: on a terminal a line that changes, elsewhere one of text."""

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import waiting
from pipelines.cli.shown import Shown
from pipelines.cli.waiting import Waiting, duration
from pipelines.local.runner import Step


@pytest.fixture
def file(monkeypatch):
    monkeypatch.setattr(waiting, "SOON", 0.05)
    return io.StringIO()


def test_in_a_pipe_what_is_soon_done_is_not_told_and_what_takes_long_is_told_once(file):
    with Waiting(Console(file=file)) as line:
        line.now("quick")
        line.now("slow [1]")
        time.sleep(0.3)
        line.now("quick, too")
    time.sleep(0.1)
    assert file.getvalue() == "slow [1] …\n"


def test_on_a_terminal_the_line_counts_and_is_gone_in_the_end(file):
    with Waiting(Console(file=file, force_terminal=True, width=80)) as line:
        line.now("reading", left=100)
        time.sleep(0.4)
    told = file.getvalue()
    assert "reading  0 s, about 100 s left" not in told and "reading  0 s, about 2 min left" in told
    assert told.rstrip("\r\n").endswith("\x1b[2K"), "the line is erased"


def test_what_is_left_follows_from_the_parts_before():
    line = Waiting(Console(file=io.StringIO()))
    line._began = time.monotonic() - 30
    line.part("third", 3, 5)
    at = line._since
    assert line.line(at) == "third (3 of 5)  0 s, about 45 s left"
    assert line.line(at + 40) == "third (3 of 5)  40 s, about 5 s left"
    assert line.line(at + 50) == "third (3 of 5)  50 s", "longer than foretold: nothing is promised any more"
    line.quiet()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (4800, "80 min"), (9000, "2 h 30 min")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def shown(file, folder: Path, *begun: str) -> str:
    """What is told of the last step that begins, once it has taken long."""
    with Shown.on(Console(file=file), folder, 4) as one:
        for name in begun[:-1]:
            one.tell(Step(name, seconds=1), None)
        one.began(Step(begun[-1]))
        time.sleep(0.3)
    return file.getvalue().splitlines()[-1]


def test_a_run_tells_what_is_left_by_the_run_before(file, tmp_path):
    times = {"pull": 10.0, "train": 40.0, "export": 20.0}
    steps = [{"name": name, "seconds": seconds, "cached": False} for name, seconds in times.items()]
    (tmp_path / "run.json").write_text(json.dumps({"steps": steps}))
    assert shown(file, tmp_path, "pull", "train") == "train, step 2 of 4, about 60 s left …"


@pytest.mark.parametrize("text", ["", "{}", '{"steps": [{"name": "train", "seconds": 0.0, "cached": true}]}'])
def test_where_the_run_before_says_nothing_nothing_is_promised(file, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    assert shown(file, tmp_path, "train") == "train, step 1 of 4 …"


def test_the_first_run_promises_nothing(file, tmp_path):
    assert shown(file, tmp_path, "train") == "train, step 1 of 4 …"


@pytest.mark.slow
def test_a_command_keeps_its_output_clean_and_its_colours_to_terminals(tmp_path):
    """`compile` takes some seconds: a person at a terminal sees that, and a pipe gets the one line that it prints."""
    command = [sys.executable, "-m", "pipelines", "compile", "--out", str(tmp_path / "p.yaml")]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert piped.stdout.replace("\n", "") == f"wrote {tmp_path / 'p.yaml'}"
    assert "\x1b" not in piped.stdout + piped.stderr
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    output, _ = process.communicate(timeout=120)
    os.close(theirs)
    assert "compiling  " in os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert output.decode() == piped.stdout
