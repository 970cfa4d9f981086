"""Output of a command: results on stdout, errors on stderr; with --json nothing but one JSON document on stdout."""

import json
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.cli.progress import Progress


@dataclass
class Output:
    """Prints for one call of a command.

    Attributes:
        as_json: Print the result as JSON on stdout, and tables and progress on stderr.
        quiet: Print errors only, and the JSON if `as_json`.
        debug: Print the traceback of an unexpected error.
    """

    as_json: bool = False
    quiet: bool = False
    debug: bool = False

    @cached_property
    def text(self) -> "Console":
        """Console for tables and sentences."""
        return self._console(stderr=self.as_json, quiet=self.quiet)

    @cached_property
    def err(self) -> "Console":
        """Console for errors, warnings and the reasons of a gate."""
        return self._console(stderr=True, quiet=False)

    def progress(self, activity: str) -> "AbstractContextManager[Progress]":
        """Show on stderr what the command is doing for as long as the context lasts."""
        from pipelines.cli.progress import progress

        return progress(self._console(stderr=True, quiet=self.quiet), activity)

    def json(self, document: Any) -> None:
        """Print the result of the command if --json is given."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def json_file(self, path: Path) -> None:
        """Print a JSON file as the result of the command if --json is given."""
        self.json(json.loads(path.read_text()))

    def warn(self, message: str) -> None:
        self._line("bold yellow", "warning", message)

    def error(self, message: str, status: int) -> None:
        """Print an error on stderr, and with --json also as the JSON document."""
        self._line("bold red", "error", message)
        self.json({"error": {"message": message, "status": int(status)}})

    def _line(self, style: str, label: str, message: str) -> None:
        from pipelines.cli.console import labelled

        self.err.print(labelled(f"{label}:", style, f" {message}"), soft_wrap=True)

    @staticmethod
    def _console(*, stderr: bool, quiet: bool) -> "Console":
        from pipelines.cli.console import plain_console

        return plain_console(stderr=stderr, quiet=quiet)
