"""Progress of a command: a changing line on a terminal, one plain line elsewhere."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest
from rich.console import Console

from pipelines.cli import progress
from pipelines.cli.progress import Progress, duration


@pytest.fixture
def file(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.05)
    return io.StringIO()


def test_a_pipe_gets_one_line_for_a_long_activity_and_none_for_a_short_one(file):
    with Progress(Console(file=file)) as line:
        line.start("quick")
        line.start("slow [1]")
        time.sleep(0.3)
        line.start("quick, too")
    time.sleep(0.1)
    assert file.getvalue() == "slow [1] …\n"


def test_a_terminal_line_counts_and_is_erased_at_the_end(file):
    with Progress(Console(file=file, force_terminal=True, width=80)) as line:
        line.start("reading", left=100)
        time.sleep(0.4)
    text = file.getvalue()
    assert "reading  0 s, about 100 s left" not in text and "reading  0 s, about 2 min left" in text
    assert text.rstrip("\r\n").endswith("\x1b[2K"), "the line is erased"


def test_the_time_left_follows_from_the_parts_before():
    line = Progress(Console(file=io.StringIO()))
    line._started = time.monotonic() - 30
    line.part("third", 3, 5)
    at = line._since
    assert line.line(at) == "third (3 of 5)  0 s, about 45 s left"
    assert line.line(at + 40) == "third (3 of 5)  40 s, about 5 s left"
    assert line.line(at + 50) == "third (3 of 5)  50 s", "longer than estimated: no time left is shown"
    line.stop()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (4800, "80 min"), (9000, "2 h 30 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


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
