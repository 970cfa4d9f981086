"""Durations, and shell completion through the protocol of the shells."""

import os
import subprocess
import sys

import pytest

from pipelines.cli.options import seconds
from pipelines.cli.output import Output
from tests.pipelines.cli.running import two_tower
from two_tower.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), ("0s", 0), ("0.5m", 30)]
)
def test_a_duration_has_a_unit(text: str, expected: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert seconds("--timeout", text, "m", Output()) == expected
    assert capsys.readouterr().err == ""


def test_a_bare_number_keeps_its_unit_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert seconds("--timeout", "5", "m", Output(quiet=True)) == 300
    assert capsys.readouterr().err.startswith("warning: --timeout 5 has no unit; it counts as 5m.")


@pytest.mark.parametrize("text", ["", "m", "5 m", "-5m", "5d", "5mm", "1e3s", "nan", "infs", "٣m"])
def test_anything_else_is_not_a_duration(text: str) -> None:
    with pytest.raises(InputError, match="such as 30s, 30m or 2h"):
        seconds("--timeout", text, "m", Output())


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    environment = {
        "_TWO_TOWER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["two-tower", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return two_tower(env=environment).stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["re"], ["recommend", "releases"]),
        (["run", "--dataset", "movie"], ["movielens-100k", "movielens-1m"]),
        (["tune", "--dataset", "sa"], ["sample"]),
        (["run", "--runner", "d"], ["docker"]),
        (["compile", "--pipeline", "re"], ["refresh_items"]),
        (["run", "--set", "batch_s"], ["batch_size="]),
        (["run", "--set", "train_mem"], []),
        (["compile", "--set", "train_mem"], ["train_memory="]),
        (["settings", "train_mem"], ["train_memory"]),
        (["releases", "act"], ["activate"]),
        (["run", "--feature-r"], ["--feature-repo"]),
    ],
)
def test_completion(words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_the_program(shell: str) -> None:
    """As a process: the script is for the program of this name."""
    command = [sys.executable, "-m", "pipelines", "--show-completion", shell]
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert "_TWO_TOWER_COMPLETE=" in done.stdout and "two-tower" in done.stdout
