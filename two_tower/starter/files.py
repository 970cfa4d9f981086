"""Plain tables as files hold them: parquet, a workbook, or lines of delimited text, compressed or not."""

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
_QUOTED = ",;\t"  # in files with other delimiters a quote is a character like any other
_STAND_IN = "\x1f"  # the unit separator: one character in place of "::"
_SAMPLE, _SAMPLE_LINES = 1 << 16, 200
_NO_NAME = re.compile(r"[-+]?[\d.,:/ ]*\d[\d.,:/TZ +-]*|\d{1,2}-\w{3}-\d{4}|https?:.*")  # a number, a time, an address


def read(path: Path, table: str, names: list[str] | None, delimiter: str | None = None) -> pa.Table:
    """A file as a table. Delimited text and workbooks give columns of strings, trimmed, empty ones null.

    The text's encoding (UTF-8, UTF-16 with its mark, else Latin-1), its delimiter and whether its first line is a
    header are told from the file. table: `user`, `item` or `interaction`; the columns of a file without a header are
    called `user_1`, `user_2`, … by it. names: what to call the first columns instead.

    delimiter: of the fields of a text file; None to detect it.

    Raises InputError for a file that is not there, is empty, or cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give the {table}s as CSV, parquet, or another delimited text.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty.")
    if path.suffix in {".parquet", ".pq"}:
        found = _parquet(path)
    elif path.suffix == ".xlsx":
        found = _workbook(path, table)
    else:
        found = _delimited(path, table, delimiter)
    if found.num_rows == 0:
        raise InputError(f"{path} has a header and no row.")
    if names is None:
        return found
    names = [*names, *found.column_names[len(names) :]]
    if len(names) != found.num_columns or len(set(names)) != len(names):
        again = ", ".join(dict.fromkeys(name for name in names if names.count(name) > 1))
        said = f"{again} twice" if again else f"names for {len(names)}"
        raise InputError(
            f"{path} has {found.num_columns} columns; you give {said}. Name the first ones, in their order."
        )
    return found.rename_columns(names)


def _parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is no readable parquet file: {error}") from error


def _workbook(path: Path, table: str) -> pa.Table:
    rows = [row for row in read_sheet(path) if any(row)]
    if not rows:
        raise InputError(f"{path}: its first sheet is empty.")
    names = rows.pop(0) if _is_header(rows[0]) else _numbered(table, len(rows[0]))
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table([_trimmed(pa.chunked_array([pa.array(c, pa.string())])) for c in columns], names=names)


def _delimited(path: Path, table: str, given_delimiter: str | None) -> pa.Table:
    text = _text(path)
    lines = text[:_SAMPLE].decode("utf-8", errors="ignore").splitlines()[:_SAMPLE_LINES]
    if len(text) > _SAMPLE and len(lines) > 1:
        lines = lines[:-1]  # maybe cut
    delimiter = given_delimiter or _delimiter(path, lines)
    first = _fields(lines[:1], delimiter)[0]
    if len(first) < 2:
        raise InputError(f"{path}: the first line does not contain the delimiter {delimiter!r}. Check --delimiter.")
    header = _is_header(first)
    names = [field.strip() for field in first] if header else _numbered(table, len(first))
    if len(delimiter.encode()) > 1:
        text, delimiter = text.replace(delimiter.encode(), _STAND_IN.encode()), _STAND_IN
    try:
        read = pacsv.read_csv(
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
        raise InputError(f"{path}: {str(error)[:300]}. The file is corrupt or cut short.") from error
    return pa.table([_trimmed(column) for column in read.columns], names=names)


def _text(path: Path) -> bytes:
    """The file's text in UTF-8, whatever it is written in."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is corrupt or cut short ({error}).") from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16").encode()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode()
    return raw.removeprefix(b"\xef\xbb\xbf")


def _delimiter(path: Path, lines: list[str]) -> str:
    """The delimiter by which nearly all lines have the same number of fields, and the most of them."""
    best, most = "", 1
    for delimiter in DELIMITERS:
        widths = [len(row) for row in _fields(lines, delimiter)]
        if widths and widths[0] > most and sum(w == widths[0] for w in widths) >= 0.95 * len(widths):
            best, most = delimiter, widths[0]
    if not best:
        raise InputError(
            f"{path}: how its fields are parted cannot be told; tried {', '.join(map(repr, DELIMITERS))}. "
            "Write it as CSV or parquet, with at least two columns."
        )
    return best


def _fields(lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter in _QUOTED:
        return list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    return [line.split(delimiter) for line in lines]


def _is_header(first: list[str]) -> bool:
    """Names: all there, all different, none a number, a time or an address."""
    names = [field.strip() for field in first]
    return all(names) and len(set(names)) == len(names) and not any(map(_NO_NAME.fullmatch, names))


def _numbered(table: str, width: int) -> list[str]:
    return [f"{table}_{number}" for number in range(1, width + 1)]


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without blanks at the ends; each distinct value is looked at once."""
    coded = column.combine_chunks().dictionary_encode()
    values = pc.utf8_trim_whitespace(coded.dictionary)
    values = pc.if_else(pc.is_in(values, value_set=pa.array(NULLS)), pa.scalar(None, pa.string()), values)
    return pa.chunked_array([values.take(coded.indices)])
