"""What lies in the tables behind feature views: their columns checked, their rows read."""

import contextlib
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
from feast import FeatureStore, FeatureView
from feast.infra.offline_stores.file_source import FileSource

from two_tower.data.asof_store import source_column
from two_tower.data.hashing import mix
from two_tower.errors import InputError, unknown
from two_tower.inputs import ARROW_TYPES, Array
from two_tower.schema import Dtype

_LAST = datetime(2261, 1, 1, tzinfo=UTC)  # Feast's PostgreSQL store needs an end
_DAY = 86_400_000_000  # microseconds
_INTEGER, _REAL = r"u?int\d+", r"halffloat|float|double"
_NUMBER = rf"{_INTEGER}|{_REAL}|decimal.*"
_TEXT = r"(large_)?string(_view)?|dictionary<values=(large_)?string.*"


def _list_of(element: str) -> str:
    return rf"(large_|fixed_size_)?list<\w+: ({element}|null)( not null)?>(\[\d+\])?"


# Types of parquet columns by dtype, as patterns of their Arrow names. pandas writes integers with gaps as reals and a
# column without any value as null, so these pass; whether the values fit shows when they are cast.
ACCEPTED: dict[Dtype, str] = {
    Dtype.STRING: _TEXT,
    Dtype.INT64: f"{_INTEGER}|{_REAL}",
    Dtype.FLOAT32: _NUMBER,
    Dtype.FLOAT64: _NUMBER,
    Dtype.BOOL: "bool",
    Dtype.TIMESTAMP: r"timestamp.*|date\d+.*",
    Dtype.STRINGS: _list_of(_TEXT),
    Dtype.INTS: _list_of(_INTEGER),
    Dtype.FLOATS: _list_of(f"{_INTEGER}|{_REAL}"),
}


def check(store: FeatureStore, view: FeatureView, columns: Mapping[str, Dtype]) -> None:
    """Raise InputError where a view's source lacks a column, or holds it as another type than is declared.

    columns: names in the view → declared dtypes. The types of a warehouse's columns are its own; there only the names
    are checked.
    """
    source = view.batch_source
    try:
        found = dict(source.get_table_column_names_and_types(store.config))
    except FileNotFoundError as error:
        raise InputError(
            f"feature view {view.name!r}: its source {_where(view)} is not there. Write that file, or correct the path."
        ) from error
    except pa.ArrowInvalid as error:
        raise InputError(
            f"feature view {view.name!r}: its source {_where(view)} is no whole parquet file ({error}). Write it again."
        ) from error
    stamp = source.timestamp_field
    for name, dtype in {**columns, stamp: Dtype.TIMESTAMP}.items():
        column = source_column(view, name)
        if column not in found:
            raise unknown(f"column of feature view {view.name!r} in {_where(view)}", column, found)
        if isinstance(source, FileSource) and not re.fullmatch(f"{ACCEPTED[dtype]}|null", found[column]):
            raise InputError(
                f"column {column!r} of feature view {view.name!r} in {_where(view)} holds {found[column]}; "
                f"{dtype} takes {ARROW_TYPES[dtype]}. Correct the file, or the field's dtype in the definitions."
            )
    if isinstance(source, FileSource) and re.match(r"timestamp\[ns, ", found[source_column(view, stamp)]):
        raise InputError(
            f"column {stamp!r} of feature view {view.name!r} in {_where(view)} holds nanoseconds, which DuckDB cannot "
            "compare. Write microseconds: to_parquet(…, coerce_timestamps='us')."
        )


def read(store: FeatureStore, view: FeatureView, columns: list[str], until: datetime | None = None) -> pa.Table:
    """All rows of a view's source at or before `until`: the given columns, and its timestamp field, by their names in
    the view.
    """
    stamp = view.batch_source.timestamp_field
    names = [*columns, stamp]
    job = store.provider.offline_store.pull_all_from_table_or_query(
        config=store.config,
        data_source=view.batch_source,
        join_key_columns=[source_column(view, c) for c in columns],
        feature_name_columns=[],
        timestamp_field=source_column(view, stamp),
        end_date=until or (None if isinstance(view.batch_source, FileSource) else _LAST),
    )
    table = job.to_arrow()
    return table.select([source_column(view, n) for n in names]).rename_columns(names)


def state(store: FeatureStore, view: FeatureView, keys: list[str], as_of: datetime) -> dict[str, Any]:
    """What the gate wants to know of a view's source.

    rows, keys (distinct), repeated (share of the rows whose key and instant another one has too; 0 where a created
    timestamp tells them apart), lag and longest_gap (days: from the newest row to as_of, and between two instants),
    future (rows stamped after both as_of and now), and max_age_hours where the view is tagged with it.
    """
    stamp = view.batch_source.timestamp_field
    table = read(store, view, keys)
    micros = cast(table[stamp], stamp, Dtype.TIMESTAMP).cast(pa.int64()).drop_null().to_numpy()
    until = int(as_of.timestamp() * 1e6)
    instants = np.sort(micros[micros <= until])  # np.unique hashes: twenty times as long for ten million
    codes = [_codes(table[key]) for key in keys]
    found = {
        "time": stamp,
        "key": ", ".join(keys),
        "rows": table.num_rows,
        "keys": table.num_rows - _repeats(codes),
        "repeated": 0.0,
        "lag": float((until - instants[-1]) / _DAY) if len(instants) else None,
        "longest_gap": float(np.diff(instants).max() / _DAY) if len(instants) > 1 else 0.0,
        "future": int((micros > max(until, time.time() * 1e6)).sum()),
    }
    if not view.batch_source.created_timestamp_column and len(micros) == table.num_rows > 0:
        found["repeated"] = _repeats([*codes, micros]) / table.num_rows
    return found | ({"max_age_hours": float(view.tags["max_age_hours"])} if "max_age_hours" in view.tags else {})


def _codes(column: pa.ChunkedArray) -> Array:
    """A number for each distinct value, int64 [rows]."""
    if pa.types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(), dtype=np.int64)
    return np.asarray(column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(), dtype=np.int64)


def _repeats(columns: list[Array]) -> int:
    """How many rows equal an earlier one, by 64 mixed bits of each."""
    mixed = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        mixed = mix(mixed ^ column.astype(np.uint64))
    mixed.sort()
    return int((mixed[1:] == mixed[:-1]).sum())


def cast(column: pa.ChunkedArray, name: str, dtype: Dtype) -> pa.ChunkedArray:
    """A pulled column in the one Arrow type of its dtype; InputError where a value does not fit."""
    try:
        # Timestamps in nanoseconds lose what lies below a microsecond; no other cast may lose anything.
        return column.cast(ARROW_TYPES[dtype], safe=dtype not in (Dtype.TIMESTAMP, Dtype.FLOAT32, Dtype.FLOATS))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"column {name!r} holds {column.type}, which does not fit {dtype} ({ARROW_TYPES[dtype]}): {error}."
        ) from error


@contextlib.contextmanager
def ibis_session() -> Iterator[None]:
    """Close, at the end, the connection of ibis that Feast's DuckDB store works on; it holds every table that was read.

    ibis 12 calls a method of DuckDB by its old name; the warning of that is nothing that anybody here could act on.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
        try:
            yield
        finally:
            if ibis.options.default_backend is not None:
                ibis.options.default_backend.disconnect()
                ibis.options.default_backend = None


def _where(view: FeatureView) -> str:
    source = view.batch_source
    return source.path if isinstance(source, FileSource) else source.name
