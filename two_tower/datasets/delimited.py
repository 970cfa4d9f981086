"""Lines of delimited fields, with errors that name the file and the line."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from two_tower.errors import InputError

T = TypeVar("T")
_WORD = re.compile(r"[^\W\d_]{2,}")


def read_fields(path: Path, separator: str, width: int) -> list[list[str]]:
    """The fields of each line, [lines][width]; text in Latin-1, as MovieLens has it.

    Raises InputError for an empty file, a line of another number of fields, and a file that does not end with a line
    break: the official ones do, so it was cut short, maybe inside a number.
    """
    text = path.read_text(encoding="latin-1")
    if not text:
        raise InputError(f"{path} is empty. Fetch the data set again.")
    rows = [line.split(separator) for line in text.removesuffix("\n").split("\n")]
    check_width(path, rows, width, separator)
    if not text.endswith("\n"):
        raise InputError(f"{path} ends in the middle of line {len(rows)}: cut short. Fetch the data set again.")
    return rows


def check_width(path: Path, rows: Sequence[Sequence[str]], width: int, separator: str) -> None:
    """Raise InputError, naming the line, unless each row has `width` fields."""
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise InputError(
                f"{path}, line {number}: {len(row)} fields, not {width} parted by {separator!r}: "
                f"{separator.join(row)[:60]!r}. The file is corrupt or cut short; fetch the data set again."
            )


def column(
    path: Path,
    rows: Sequence[Sequence[str]],
    place: int,
    name: str,
    parse: Callable[[str], T],
    first_line: int = 1,
) -> list[T]:
    """One column, parsed; InputError with the line and the value where `parse` raises ValueError."""
    try:
        return [parse(row[place]) for row in rows]
    except ValueError:
        pass
    for number, row in enumerate(rows, start=first_line):
        try:
            parse(row[place])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {name} {row[place]!r} cannot be read ({error}).") from error
    raise AssertionError("a value that failed to parse parses now")


def words(text: str) -> list[str]:
    """The lower-case words of a title or a description, each once, in order; numbers and single letters are none."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))
