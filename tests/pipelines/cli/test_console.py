"""Text of data, users and errors on the terminal."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

import pipelines
import two_tower
from pipelines.cli.console import labelled, plain_console
from tests.pipelines.cli.running import two_tower as command
from tests.pipelines.cli.test_command import fail_with
from two_tower.errors import InputError

ROOTS = [Path(package.__path__[0]) for package in (pipelines, two_tower)]
MARKUP = [
    "[/x]",
    "[red]",
    "[/]",
    "[bold red]x[/bold red]",
    "[link=x]y[/link]",
    "\\[red]",
    "[@click=x]y",
]
texts = st.lists(st.sampled_from([*MARKUP, "a b", "[", "]", "\\", ":smile:"]), min_size=1, max_size=4).map(" ".join)


@given(texts)
def test_any_text_is_printed_as_it_is(text: str) -> None:
    file = io.StringIO()
    console = plain_console(file=file)
    table = Table(text, title=text, box=None)
    table.add_row(text)
    console.print(text, soft_wrap=True)
    console.print(labelled("error:", "bold red", f" {text}"), soft_wrap=True)
    console.width = 200
    console.print(table)
    printed = file.getvalue()
    assert printed.startswith(f"{text}\nerror: {text}\n")
    assert printed.count(text) == 5, "also as the title, header and cell of a table"


@pytest.mark.parametrize("text", MARKUP)
def test_an_error_with_markup_is_a_sentence_and_a_status(text: str) -> None:
    result = fail_with(InputError(f"column {text} is missing."))
    assert (result.exit_code, result.stderr) == (2, f"error: column {text} is missing.\n")


@pytest.mark.parametrize("text", MARKUP)
def test_a_path_with_markup_is_a_sentence_and_a_status(text: str) -> None:
    for arguments in (
        ["releases", "list", "--releases", f"nope://{text}"],
        ["releases", "list", "--releases", text],
        ["leaks", "--feature-repo", text],
        ["compile", "--out", f"missing/{text}"],
        ["submit", "--host", text],
        ["settings", text],
    ):
        result = command(*arguments)
        assert result.exit_code == 2 and text in result.stderr, arguments


def test_no_text_goes_through_markup() -> None:
    """Only `plain_console` makes consoles, and styles are Text: a string with markup would be printed as it is."""
    for path in (path for root in ROOTS for path in root.rglob("*.py")):
        source = path.read_text()
        assert not re.search(r"rich\.markup|from_markup|markup=True", source), path
        if path.name != "console.py" and path.parts[-2:] != ("estimator", "progress.py"):
            assert not re.search(r"\bConsole\((?!\))", source), path
        if path.is_relative_to(ROOTS[0]) and path.name != "console.py":
            assert not re.search(r"\[/?(bold|dim|red|green|yellow|cyan)[ a-z]*\]", source), path
