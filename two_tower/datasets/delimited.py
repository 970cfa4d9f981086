"""Read text files with delimited fields. Errors name the file and the line."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from two_tower.errors import InputError

T = TypeVar("T")
_WORD = re.compile(r"[^\W\d_]{2,}")


def read_fields(path: Path, separator: str, width: int) -> list[list[str]]:
    """Read the fields of each line of a file in Latin-1, the encoding of MovieLens.

    Args:
        path: The file.
        separator: The separator of the fields.
        width: The number of fields per line.

    Returns:
        One list of `width` fields per line.

    Raises:
        InputError: If the file is empty, a line has another number of fields, or the file does not end with a line
            break. The official files do, so such a file is truncated, possibly inside a number.
    """
    text = path.read_text(encoding="latin-1")
    if not text:
        raise InputError(f"{path} is empty. Download the data set again.")
    rows = [line.split(separator) for line in text.removesuffix("\n").split("\n")]
    check_width(path, rows, width, separator)
    if not text.endswith("\n"):
        raise InputError(
            f"{path} is truncated: it ends in the middle of line {len(rows)}. Download the data set again."
        )
    return rows


def check_width(path: Path, rows: Sequence[Sequence[str]], width: int, separator: str) -> None:
    """Check that all rows have the same number of fields.

    Args:
        path: The file of the rows, for the error message.
        rows: The fields of each line.
        width: The required number of fields.
        separator: The separator of the fields, for the error message.

    Raises:
        InputError: If a row has another number of fields.
    """
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise InputError(
                f"{path}, line {number}: {len(row)} fields instead of {width}, separated by {separator!r}: "
                f"{separator.join(row)[:60]!r}. The file is corrupt or truncated; download the data set again."
            )


def column(
    path: Path,
    rows: Sequence[Sequence[str]],
    position: int,
    name: str,
    parse: Callable[[str], T],
    first_line: int = 1,
) -> list[T]:
    """Parse one column.

    Args:
        path: The file of the rows, for the error message.
        rows: The fields of each line.
        position: The position of the column, from 0.
        name: The name of the column, for the error message.
        parse: Converts a field to a value; raises ValueError for an invalid field.
        first_line: The line number of the first row.

    Returns:
        The parsed values.

    Raises:
        InputError: If a field is not valid.
    """
    try:
        return [parse(row[position]) for row in rows]
    except ValueError:
        pass
    for number, row in enumerate(rows, start=first_line):
        try:
            parse(row[position])
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: {name} {row[position]!r} is not valid ({error}). Correct the line, or "
                "download the data set again."
            ) from error
    raise AssertionError("a value that failed to parse parses now")


def words(text: str) -> list[str]:
    """Return the distinct words of a text in lower case, in order. Numbers and single letters are ignored."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))
