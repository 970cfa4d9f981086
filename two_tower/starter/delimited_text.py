"""Read delimited text: detect encoding, delimiter, header and comments."""

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from two_tower.errors import InputError

NULLS = ["", "NULL", "null", "NaN", "nan", "NaT", "NA", "<NA>", "N/A", "n/a", "#N/A", "None", "\\N", "-"]
DELIMITERS = ("::", "\t", "|", ";", ",", " ")
_QUOTED = ",;"  # with other delimiters, a quote has a special meaning only if it encloses whole fields
_STAND_IN = "\x1f"  # the unit separator, a single character that replaces a longer delimiter
_SAMPLE, _SAMPLE_LINES = 1 << 16, 200
_NO_NAME = re.compile(r"[-+]?[\d.,:/ ]*\d[\d.,:/TZ +-]*|\d{1,2}-\w{3}-\d{4}|https?:.*")  # a number, a time, an address
_ESCAPED = re.compile(rb'\\"[^,;\t\r\n"]')  # a quote inside a field that is escaped by a backslash
_LINE_BREAK = re.compile(r"\r\n|\r|\n")  # as pyarrow; str.splitlines knows more
_CONSISTENT = 0.95  # the minimum share of lines with the same number of fields
_KEY_AND_ITEMS = re.compile(r"\w+(([ \t]+|,)\w+)*[ \t]*")


@dataclass(frozen=True)
class Text:
    """The table of a text file.

    Attributes:
        table: Columns of strings.
        header: The names of the header, which may be empty or repeated. None: no header.
        notes: Notes for the user.
    """

    table: pa.Table
    header: list[str] | None
    notes: tuple[str, ...] = ()


def read_text(name: str, raw: bytes, delimiter: str | None, *, lists: bool) -> Text:
    """Read delimited text as columns of strings without surrounding whitespace; null markers become null.

    Blank and comment lines at the top, a line `sep=;`, and a delimiter at the end of the rows are ignored. Rows may
    have one field more than the header: row names, as R and pandas write them.

    Args:
        name: The name of the file, for messages.
        raw: The content.
        delimiter: The delimiter. None: detected.
        lists: Whether lines `user item item …` of different lengths are read as one row per user and item.

    Returns:
        The table, its header, and notes.

    Raises:
        InputError: If the delimiter cannot be detected, or the lines have different numbers of fields.
    """
    text, comments, hint = _without_preamble(_utf8(raw))
    lines = _LINE_BREAK.split(text[:_SAMPLE].decode("utf-8", errors="ignore").rstrip("\r\n"))[:_SAMPLE_LINES]
    if len(text) > _SAMPLE and len(lines) > 1:
        lines = lines[:-1]  # the last line of the sample may be incomplete
    delimiter = delimiter or hint or _delimiter(lines)
    if not delimiter and lists and _are_lists(lines):
        return _adjacency(name, text)
    if not delimiter:
        raise InputError(
            f"{name}: cannot detect the delimiter; tried {', '.join(map(repr, DELIMITERS))}. Set --delimiter, or write "
            "the file as CSV or parquet with at least two columns."
        )
    rows = _fields(lines, delimiter)
    if len(rows[0]) < 2:
        raise InputError(f"{name}: the first line does not contain the delimiter {delimiter!r}. Check --delimiter.")
    width = _width(rows)
    header = header_of(rows, width)
    skipped = 0 if header is None else 1 + sum(field.count("\n") for field in rows[0])  # a name can have line breaks
    if header is None and comments and comments[-1].startswith("#"):  # a commented header, as in the files of SNAP
        names = _fields([comments[-1].lstrip("# ")], delimiter)
        header = header_of([*names, *rows], width) if len(names[0]) == width else None
        comments = comments[:-1] if header else comments
    table = _parse(name, text, delimiter, [f"f{i}" for i in range(width)], skipped, _has_quotes(lines, delimiter))
    notes = (f"{name}: skipped comment lines at the top: {len(comments)}.",) if comments else ()
    return Text(table, header, notes)


def _utf8(raw: bytes) -> bytes:
    """Convert text to UTF-8 from UTF-8, UTF-16, or else Windows-1252 or Latin-1."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16").encode()
    if b"\x00" in raw[:64]:
        return raw.decode("utf-16-be" if raw[:1] == b"\x00" else "utf-16-le", errors="replace").encode()
    for encoding in ("utf-8", "cp1252"):
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return raw.removeprefix(b"\xef\xbb\xbf") if encoding == "utf-8" else raw.decode(encoding).encode()
    return raw.decode("latin-1").encode()


def _without_preamble(text: bytes) -> tuple[bytes, list[str], str]:
    """Return the text from its first row on, the comments above it, and the delimiter of a line `sep=;` or ""."""
    comments, hint, start = [], "", 0
    while start < len(text):
        line = re.compile(rb"[^\r\n]*").match(text, start)
        assert line is not None
        content = line.group().strip()
        if separator := re.fullmatch(rb"sep=(.)", content):
            hint = separator.group(1).decode()
        elif content.startswith((b"#", b"%")):
            comments.append(content.decode(errors="replace"))
        elif content.strip(b" \t,;|"):
            return text[start:], comments, hint
        start = line.end() + 1
    return text if comments else b"", [], hint


def _delimiter(lines: list[str]) -> str:
    """Return the delimiter with the most fields per line for which nearly all lines have the same number, or ""."""
    best, most = "", 1
    for delimiter in DELIMITERS:
        if delimiter == " " and best:
            break
        rows = _fields(lines, delimiter)
        width = _width(rows) if rows else 0
        consistent = sum(len(row) == width for row in rows[1:] or rows)
        if width > most and 0 <= width - len(rows[0]) <= 1 and consistent >= _CONSISTENT * len(rows[1:] or rows):
            best, most = delimiter, width
    return best


def _fields(lines: list[str], delimiter: str) -> list[list[str]]:
    lines = [line for line in lines if line.strip()]
    if len(delimiter) == 1 and _has_quotes(lines, delimiter):
        spaces = delimiter == " "
        text = io.StringIO("\n".join(line.strip() if spaces else line for line in lines))
        escape = "\\" if any(_ESCAPED.search(line.encode()) for line in lines) else None
        return list(csv.reader(text, delimiter=delimiter, skipinitialspace=spaces, escapechar=escape))
    return [line.split() if delimiter == " " else line.split(delimiter) for line in lines]


def _has_quotes(lines: list[str], delimiter: str) -> bool:
    if delimiter in _QUOTED:
        return True
    end = re.escape(delimiter)
    return any(re.search(rf'(^|{end})"[^"]*"({end}|$)', line) for line in lines)


def _width(rows: list[list[str]]) -> int:
    """Return the most common number of fields per row below the first row."""
    return Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]


def header_of(rows: list[list[str]], width: int) -> list[str] | None:
    """Return the names of the first row, or None.

    The first row has names if none of its fields is a number, a time or an address. Numbers are names too if they count
    0, 1, 2, … (the elements of a vector), or if more columns have a name above numbers only.
    """
    first = [field.strip() for field in rows[0]]
    if len(first) == width - 1 and len(rows) > 1:
        last_is_empty = not any(row[-1].strip() for row in rows[1:] if len(row) == width)
        first = [*first, ""] if last_is_empty else ["", *first]
    if len(first) != width or not any(first):
        return None
    if not any(map(_NO_NAME.fullmatch, first)):
        return first
    numbers = [name for name in first if _NO_NAME.fullmatch(name)]
    counted = numbers[:1] in (["0"], ["1"]) and numbers == [str(int(numbers[0]) + i) for i in range(len(numbers))]
    if counted and len(numbers) > 2 and len(numbers) < sum(map(bool, first)):
        return first
    above_numbers = 0
    for i, name in enumerate(first):
        below = [row[i].strip() for row in rows[1:] if len(row) == width]
        is_name = name not in NULLS and not _NO_NAME.fullmatch(name)
        above_numbers += is_name and any(below) and all(not f or bool(_NO_NAME.fullmatch(f)) for f in below)
    return first if above_numbers > len(numbers) / 2 else None


def _parse(name: str, text: bytes, delimiter: str, columns: list[str], skipped: int, quotes: bool) -> pa.Table:
    if delimiter == " ":
        text = re.sub(rb"(?m)^ +| +(?=\r?$)", b"", re.sub(rb" {2,}", b" ", text))
    elif len(delimiter.encode()) > 1:
        text, delimiter = text.replace(delimiter.encode(), _STAND_IN.encode()), _STAND_IN
    try:
        data = pacsv.read_csv(
            pa.BufferReader(text),
            pacsv.ReadOptions(column_names=columns, skip_rows=skipped),
            pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quotes else False,
                escape_char="\\" if quotes and _ESCAPED.search(text) else False,
                newlines_in_values=quotes,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.dictionary(pa.int32(), pa.string())),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=NULLS,
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{name}: {str(error)[:300]}. The file is corrupt or truncated; write it again.") from error
    return pa.table({column: trimmed(data[column]) for column in columns})


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strip whitespace and replace null markers by null; processes each distinct value once."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    values = without_nulls(pc.utf8_trim_whitespace(coded.dictionary))
    return pa.chunked_array([values.take(coded.indices)])


def without_nulls(values: pa.Array) -> pa.Array:
    """Replace the texts that stand for a missing value by null."""
    return pc.if_else(pc.is_in(values, value_set=pa.array(NULLS)), pa.scalar(None, pa.string()), values)


def _are_lists(lines: list[str]) -> bool:
    """Return whether each line is a key and its items: plain ids, each key once, different lengths."""
    if not all(map(_KEY_AND_ITEMS.fullmatch, lines)):
        return False
    rows = [re.split(r"[ \t,]+", line.strip()) for line in lines]
    keys = [row[0] for row in rows]
    return len(set(keys)) == len(keys) > 1 and len(set(map(len, rows))) > 1 and max(map(len, rows)) > 2


def _adjacency(name: str, text: bytes) -> Text:
    lines = pc.utf8_trim_whitespace(pa.array(text.decode().splitlines()))
    rows = pc.split_pattern_regex(lines.filter(pc.not_equal(lines, "")), r"[ \t,]+")
    items = pc.list_slice(rows, 1)
    table = pa.table(
        {
            "f0": pc.list_element(rows, 0).take(pc.list_parent_indices(items)),
            "f1": pc.list_flatten(items),
        }
    )
    note = f"{name}: each line is a user and its items; {len(rows):,} lines are {table.num_rows:,} interactions."
    return Text(table, None, (note,))
