"""Read tables from files: parquet, Excel workbooks, or delimited text, optionally compressed with gzip."""

import csv
import gzip
import io
import re
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from two_tower.datasets.xlsx import read_sheet
from two_tower.errors import InputError

NULLS = ["", "NULL", "null", "NaN", "nan", "None", "\\N"]
DELIMITERS = ("::", "\t", "|", ";", ",")
_QUOTED = ",;\t"  # with other delimiters, a quote has no special meaning
_STAND_IN = "\x1f"  # the unit separator, a single character that replaces "::"
_SAMPLE, _SAMPLE_LINES = 1 << 16, 200
_NO_NAME = re.compile(r"[-+]?[\d.,:/ ]*\d[\d.,:/TZ +-]*|\d{1,2}-\w{3}-\d{4}|https?:.*")  # a number, a time, an address


def read(path: Path, table: str, names: list[str] | None, delimiter: str | None = None) -> pa.Table:
    """Read a file as a table.

    Delimited text and workbooks give columns of strings without surrounding whitespace; empty values become null. The
    encoding of a text file (UTF-8, UTF-16 with a byte order mark, else Latin-1) and the header are detected.

    Args:
        path: The file.
        table: `user`, `item` or `interaction`. The columns of a file without a header are named `user_1`, `user_2`, and
            so on.
        names: Names of the first columns. None: the names of the file.
        delimiter: The delimiter of a text file. None: detected.

    Returns:
        The table.

    Raises:
        InputError: If the file does not exist, is empty, or is not valid, or the names do not fit its columns.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Pass the {table}s as a CSV, parquet, or other delimited text file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty. Pass a file with at least one row.")
    if path.suffix in {".parquet", ".pq"}:
        data = _parquet(path)
    elif path.suffix == ".xlsx":
        data = _workbook(path, table)
    else:
        data = _delimited(path, table, delimiter)
    if data.num_rows == 0:
        raise InputError(f"{path} has a header but no rows. Pass a file with at least one row.")
    if names is None:
        return data
    names = [*names, *data.column_names[len(names) :]]
    if len(names) != data.num_columns or len(set(names)) != len(names):
        duplicates = ", ".join(dict.fromkeys(name for name in names if names.count(name) > 1))
        problem = f"{duplicates} is a duplicate name" if duplicates else f"there are {len(names)} names"
        raise InputError(f"{path} has {data.num_columns} columns; {problem}. Name the first columns, in their order.")
    return data.rename_columns(names)


def _parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a valid parquet file: {error}. Write the file again.") from error


def _workbook(path: Path, table: str) -> pa.Table:
    rows = [row for row in read_sheet(path) if any(row)]
    if not rows:
        raise InputError(f"{path}: the first sheet is empty. Move the table to the first sheet.")
    names = rows.pop(0) if _is_header(rows[0]) else _numbered(table, len(rows[0]))
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table([_trimmed(pa.chunked_array([pa.array(c, pa.string())])) for c in columns], names=names)


def _delimited(path: Path, table: str, required_delimiter: str | None) -> pa.Table:
    text = _text(path)
    lines = text[:_SAMPLE].decode("utf-8", errors="ignore").splitlines()[:_SAMPLE_LINES]
    if len(text) > _SAMPLE and len(lines) > 1:
        lines = lines[:-1]  # the last line of the sample may be incomplete
    delimiter = required_delimiter or _delimiter(path, lines)
    first = _fields(lines[:1], delimiter)[0]
    if len(first) < 2:
        raise InputError(f"{path}: the first line does not contain the delimiter {delimiter!r}. Check --delimiter.")
    header = _is_header(first)
    names = [field.strip() for field in first] if header else _numbered(table, len(first))
    if len(delimiter.encode()) > 1:
        text, delimiter = text.replace(delimiter.encode(), _STAND_IN.encode()), _STAND_IN
    try:
        data = pacsv.read_csv(
            pa.BufferReader(text),
            pacsv.ReadOptions(column_names=names, skip_rows=int(header)),
            pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if delimiter in _QUOTED else False,
                newlines_in_values=delimiter in _QUOTED,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=NULLS,
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: {str(error)[:300]}. The file is corrupt or truncated; write it again.") from error
    return pa.table([_trimmed(column) for column in data.columns], names=names)


def _text(path: Path) -> bytes:
    """Return the text of a file, converted to UTF-8."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is corrupt or truncated ({error}). Write the file again.") from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16").encode()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode()
    return raw.removeprefix(b"\xef\xbb\xbf")


def _delimiter(path: Path, lines: list[str]) -> str:
    """Return the delimiter with the most fields per line for which nearly all lines have the same number of fields."""
    best, most = "", 1
    for delimiter in DELIMITERS:
        widths = [len(row) for row in _fields(lines, delimiter)]
        if widths and widths[0] > most and sum(w == widths[0] for w in widths) >= 0.95 * len(widths):
            best, most = delimiter, widths[0]
    if not best:
        raise InputError(
            f"{path}: cannot detect the delimiter; tried {', '.join(map(repr, DELIMITERS))}. Set --delimiter, or write "
            "the file as CSV or parquet with at least two columns."
        )
    return best


def _fields(lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter in _QUOTED:
        return list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    return [line.split(delimiter) for line in lines]


def _is_header(first: list[str]) -> bool:
    """Return whether the fields are column names: not empty, distinct, and not numbers, times or URLs."""
    names = [field.strip() for field in first]
    return all(names) and len(set(names)) == len(names) and not any(map(_NO_NAME.fullmatch, names))


def _numbered(table: str, width: int) -> list[str]:
    return [f"{table}_{number}" for number in range(1, width + 1)]


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strip whitespace and replace null markers by null; processes each distinct value once."""
    coded = column.combine_chunks().dictionary_encode()
    values = pc.utf8_trim_whitespace(coded.dictionary)
    values = pc.if_else(pc.is_in(values, value_set=pa.array(NULLS)), pa.scalar(None, pa.string()), values)
    return pa.chunked_array([values.take(coded.indices)])
