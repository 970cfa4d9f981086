"""Consoles that print text as it is, and text with a styled label."""

from typing import IO

from rich.console import Console
from rich.text import Text


def plain_console(*, file: IO[str] | None = None, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console for which markup has no effect: `[red]` or `[/x]` in a name, a path or an error is printed."""
    return Console(file=file, stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False)


def labelled(label: str, style: str, text: str = "") -> Text:
    """Return a text that begins with a label in a style, such as a bold red `error:`."""
    return Text.assemble((label, style), text)
