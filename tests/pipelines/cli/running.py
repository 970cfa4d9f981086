"""Calls of the command line in this process."""

from collections.abc import Mapping

from typer.testing import CliRunner, Result

from pipelines.cli.main import app


def two_tower(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """The result of a call: `exit_code`, `stdout`, `stderr`."""
    return CliRunner().invoke(app, arguments, env=env)
