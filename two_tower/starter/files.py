"""Read tables from files: parquet, Arrow, ORC, JSON, Excel workbooks, or delimited text; one file or many."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather, orc

from two_tower.datasets.sql import quoted
from two_tower.datasets.xlsx import read_sheet
from two_tower.errors import InputError
from two_tower.starter import values
from two_tower.starter.arrow_types import plain
from two_tower.starter.delimited_text import header_of, read_text, trimmed, without_nulls
from two_tower.starter.raw_files import RawFile, raw_files
from two_tower.starter.source import Source

_HEAD_BYTES, _HEAD_ROWS = 1 << 18, 5_000
_JSON = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[\{\]])')
_ROW_NUMBER = re.compile(r"|unnamed: \d+(_level_\d+)?(\.\d+)?|__index_level_\d+__|level_0", re.I)
# Control characters, line and paragraph separators, and marks that change the direction in which text is shown.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_DEPTH = 3  # the maximum depth of structs whose fields become columns


def read(
    path: Path, table: str, names: list[str] | None = None, delimiter: str | None = None, *, head: bool = False
) -> Source:
    """Read the table of a file, or of the files of a folder, a pattern or a zip archive.

    The content and not the name tells the format and the compression. Delimited text and workbooks give columns of
    strings without surrounding whitespace. Null markers of text, such as NA, become null. Fields of structs become
    columns `parent.field`, and folders `key=value` become columns.

    Args:
        path: The file, folder or pattern.
        table: `user`, `item` or `interaction`. The columns of a file without a header are named `user_1`, `user_2`, and
            so on.
        names: Names of the first columns. None: the names of the file.
        delimiter: The delimiter of a text file. None: detected.
        head: Read only the first rows, where the format allows it.

    Returns:
        The table. Row numbers (a whole-number column without a name, the index of a data frame) are in `left_out`.

    Raises:
        InputError: If there is no file, a file is empty or not valid, the files have different columns, the names do
            not fit the columns, or a name has a control character.
    """
    files = raw_files(path, table)
    parts = [_with_keys(_read_file(file, table, delimiter, head=head), file) for file in files]
    source = parts[0] if len(parts) == 1 else _joined(path, parts)
    if source.table.num_rows == 0:
        raise InputError(f"{path} has a header but no rows. Pass a file with at least one row.")
    return _with_names(path, table, source, names or [])


def _read_file(file: RawFile, table: str, delimiter: str | None, *, head: bool) -> Source:
    if file.start.startswith(b"PK\x03\x04"):
        return _workbook(file)
    if file.start.startswith((b"PAR1", b"ARROW1", b"FEA1", b"ORC")):
        return _typed(file, _binary(file, head=head))
    if _JSON.match(file.start):
        return _typed(file, _json(file, head=head))
    raw = file.content(_HEAD_BYTES) if head else file.content()
    if head and len(raw) == _HEAD_BYTES:
        raw = raw[: max(raw.rfind(b"\n"), 0) + 1] or raw
    text = read_text(file.name, raw, delimiter, lists=table == "interaction")
    return _from_text(file.name, text.table, text.header, text.notes)


def _typed(file: RawFile, data: pa.Table) -> Source:
    """Flatten structs and convert the columns to plain types."""
    for _ in range(_DEPTH):
        data = data.flatten()
    columns = [plain(column) for column in data.columns]
    columns = [_without_nulls(column) if pa.types.is_string(column.type) else column for column in columns]
    return _named(file.name, pa.table(columns, names=[f"f{i}" for i in range(len(columns))]), data.column_names)


def _without_nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    coded = column.combine_chunks().dictionary_encode()
    return pa.chunked_array([without_nulls(coded.dictionary).take(coded.indices)])


def _binary(file: RawFile, *, head: bool) -> pa.Table:
    source = str(file.path) if file.path else pa.BufferReader(file.content())
    try:
        if file.start.startswith(b"PAR1"):
            parquet = pq.ParquetFile(source)
            batches = parquet.iter_batches(_HEAD_ROWS)
            first = next(batches, None) if head else None
            return parquet.read() if first is None else pa.Table.from_batches([first])
        return orc.read_table(source) if file.start.startswith(b"ORC") else feather.read_table(source)
    except (pa.ArrowException, OSError) as error:
        kind = "parquet" if file.start.startswith(b"PAR1") else "Arrow or ORC"
        raise InputError(f"{file.name} is not a valid {kind} file: {error}. Write the file again.") from error


def _json(file: RawFile, *, head: bool) -> pa.Table:
    """Read JSON lines, or a JSON array of records."""
    lines = head and not re.match(rb"(\xef\xbb\xbf)?\s*\[", file.start)
    raw = file.content(_HEAD_BYTES) if lines else b"" if file.path else file.content()
    if len(raw) == _HEAD_BYTES:
        raw = raw[: raw.rfind(b"\n") + 1] or file.content()
    with tempfile.NamedTemporaryFile(suffix=".json") as copy, duckdb.connect() as connection:
        copy.write(raw)
        copy.flush()
        connection.execute("set timezone = 'UTC'")
        path = copy.name if raw else str(file.path)
        try:
            rows = connection.read_json(
                path, sample_size=-1, convert_strings_to_integers=False, map_inference_threshold=-1
            )
            texts = ", ".join(
                f"{name}->>'$' as {name}" if str(type_) == "JSON" else name
                for column, type_ in zip(rows.columns, rows.types, strict=True)
                for name in [quoted(column)]
            )
            data = rows.project(texts).to_arrow_table()
        except duckdb.Error as error:
            message = str(error).replace(path, file.name)[:300]
            raise InputError(f"{file.name} is not valid JSON: {message}. Write JSON lines.") from error
    if data.num_rows == 1 and all(pa.types.is_nested(field.type) for field in data.schema):
        raise InputError(
            f"{file.name} is one JSON object, not one object per row. Write JSON lines or an array of objects; in "
            'pandas: to_json(path, orient="records", lines=True).'
        )
    return data


def _workbook(file: RawFile) -> Source:
    assert file.path is not None
    rows = [row for row in read_sheet(file.path) if any(row)]
    if not rows:
        raise InputError(f"{file.name}: the first sheet is empty. Move the table to the first sheet.")
    header = header_of(rows[:200], len(rows[0]))
    columns = list(zip(*rows[int(header is not None) :], strict=True)) or [()] * len(rows[0])
    texts = [trimmed(pa.chunked_array([pa.array(column, pa.string())])) for column in columns]
    return _from_text(file.name, pa.table(texts, names=[f"f{i}" for i in range(len(texts))]), header, ())


def _from_text(name: str, table: pa.Table, header: list[str] | None, notes: tuple[str, ...]) -> Source:
    if header is None:
        return Source(name=name, table=table, from_text=True, named=False, notes=notes)
    return _named(name, table, header, from_text=True, notes=notes)


def _named(
    name: str, table: pa.Table, header: Sequence[str], *, from_text: bool = False, notes: tuple[str, ...] = ()
) -> Source:
    """Name the columns: no name becomes a number, a repeated one gets a suffix. Drop empty columns without a name."""
    columns: dict[str, pa.ChunkedArray] = {}
    left_out, suffixed = {}, []
    for position, (original, column) in enumerate(zip(header, table.columns, strict=True), start=1):
        if not original and column.null_count == len(column):
            continue
        unique, number = original or f"column_{position}", 2
        while unique in columns or (unique != original and unique in header):
            unique, number = f"{original or f'column_{position}'}_{number}", number + 1
        if original and unique != original:
            suffixed.append(f"{original!r} is a repeated name: column {position} is called {unique!r}")
        if _is_row_number(original, column, position, from_text):
            left_out[unique] = "integers without a name of their own: row numbers"
        columns[unique] = column
    return Source(
        name=name,
        table=pa.table(columns),
        from_text=from_text,
        named=True,
        left_out=left_out,
        notes=(*notes, *(f"{name}: {text}." for text in suffixed)),
    )


def _is_row_number(name: str, column: pa.ChunkedArray, position: int, from_text: bool) -> bool:
    """Whether a column is the index of a data frame: integers without a name, which are distinct if not first."""
    if not _ROW_NUMBER.fullmatch(name) or values.kind_of(column, name, from_text) != "integer":
        return False
    return bool(name) or position == 1 or len(column.unique()) == len(column)


def _with_keys(source: Source, file: RawFile) -> Source:
    """Append the values of the folders `key=value` that the file does not have as columns."""
    table = source.table
    for key, value in file.keys.items():
        if key not in table.column_names:
            table = table.append_column(key, pa.array([value] * table.num_rows, pa.string()))
    return replace(source, table=table)


def _joined(path: Path, parts: list[Source]) -> Source:
    """Concatenate the tables of several files. A file may lack columns that another file has."""
    most = max(parts, key=lambda part: part.table.num_columns)
    for part in parts:
        other = [c for c in part.table.column_names if c not in most.table.column_names]
        if other or part.named != most.named:
            raise InputError(
                f"{path}: unlike {most.name}, {part.name} has "
                f"{f'the column {other[0]!r}' if other else 'another header'}. Pass files with the same columns."
            )
    from_text = any(part.from_text for part in parts)
    tables = [_texts(part.table) if from_text and not part.from_text else part.table for part in parts]
    try:
        table = pa.concat_tables(tables, promote_options="permissive").select(most.table.column_names)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{path}: the files have different types: {error}. Write them with the same types.") from error
    notes = [f"{path.name}: {len(parts)} files were read.", *dict.fromkeys(n for part in parts for n in part.notes)]
    left_out = {name: why for part in parts for name, why in part.left_out.items()}
    return replace(most, name=path.name, table=table, from_text=from_text, left_out=left_out, notes=tuple(notes))


def _texts(table: pa.Table) -> pa.Table:
    columns = [c if pa.types.is_nested(c.type) else c.cast(pa.string()) for c in table.columns]
    return pa.table(columns, names=table.column_names)


def _with_names(path: Path, table: str, source: Source, first: list[str]) -> Source:
    data = source.table
    if not source.named:
        data = data.rename_columns([f"{table}_{number}" for number in range(1, data.num_columns + 1)])
    names = [*first, *data.column_names[len(first) :]]
    if len(names) != data.num_columns or len(set(names)) != len(names):
        duplicates = ", ".join(dict.fromkeys(name for name in names if names.count(name) > 1))
        problem = f"{duplicates} is a duplicate name" if duplicates else f"there are {len(names)} names"
        raise InputError(f"{path} has {data.num_columns} columns; {problem}. Name the first columns, in their order.")
    for name in names:
        if _CONTROL.search(name):
            raise InputError(
                f"{path}: the name of column {name!r} has a line break or another control character. Rename the column "
                f"in the file, or pass the names of the first columns with --{table}-columns."
            )
    left_out = {name: why for name, why in source.left_out.items() if name in names[len(first) :]}
    named = source.named or bool(first)
    return replace(source, table=data.rename_columns(names), named=named, left_out=left_out)
