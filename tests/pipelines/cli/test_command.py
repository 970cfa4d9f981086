"""Errors and exit statuses of commands."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipelines.cli.command import Program, add, command
from pipelines.cli.output import Output
from two_tower.errors import InputError, StorageError


def fail_with(error: BaseException, *arguments: str) -> Result:
    """The result of a command that raises an error."""

    @command("two-tower fail")
    def fail(output: Output, times: int = 1) -> int:
        output.text.print("started")
        raise error

    app = typer.Typer(cls=Program, rich_markup_mode=None)
    add(app, "fail", fail)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["fail", *arguments])


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("column [at] is missing."), 2, "error: column [at] is missing."),
        (StorageError("s3://shop cannot be reached."), 2, "error: s3://shop cannot be reached."),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_an_error_is_one_line_and_a_status(error: BaseException, status: int, line: str) -> None:
    result = fail_with(error)
    assert (result.exit_code, result.stdout, result.stderr) == (status, "started\n", line + "\n")
    quiet = fail_with(error, "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (status, "", line + "\n")
    as_json = fail_with(error, "--json")
    assert json.loads(as_json.stdout) == {"error": {"message": line.removeprefix("error: "), "status": status}}
    assert as_json.stderr == f"started\n{line}\n"


def test_a_fault_is_one_line_that_names_the_file_with_the_traceback() -> None:
    result = fail_with(KeyError("lost"))
    assert result.exit_code == 1
    _, line = result.output.splitlines()
    assert line.startswith("error: unexpected KeyError: 'lost' (traceback in ")
    file = Path(line.partition("traceback in ")[2].partition(";")[0])
    assert file.read_text().endswith("KeyError: 'lost'\n")
    file.unlink()


def test_debug_prints_the_traceback() -> None:
    result = fail_with(KeyError("lost"), "--debug")
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: unexpected KeyError: 'lost'"


@pytest.mark.parametrize("arguments", [["--tiems", "2"], ["--times", "two"], ["again"]])
def test_wrong_usage_is_bad_input(arguments: list[str]) -> None:
    result = fail_with(KeyError("not reached"), *arguments)
    assert result.exit_code == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and line.endswith("See `two-tower fail --help`.")
