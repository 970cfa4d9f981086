"""The source tables of feature views: check their columns, read their rows, and compute statistics."""

import contextlib
import functools
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView, Field
from feast.infra.offline_stores.file_source import FileSource

from two_tower.data.asof import TIME
from two_tower.data.asof_store import AsOfOfflineStore, source_column
from two_tower.data.hashing import mix
from two_tower.errors import InputError, unknown
from two_tower.inputs import ARROW_TYPES, Array
from two_tower.schema import MISSING_STRING, Dtype

FIRST = datetime(1700, 1, 1, tzinfo=UTC)  # before any feature row, and within the range of pandas timestamps
_LAST = datetime(2261, 1, 1, tzinfo=UTC)  # Feast's PostgreSQL store requires an end date
_DAY = 86_400_000_000  # microseconds
_INTEGER, _REAL = r"u?int\d+", r"halffloat|float|double"
_NUMBER = rf"{_INTEGER}|{_REAL}|decimal.*"
_TEXT = r"(large_)?string(_view)?|dictionary<values=(large_)?string.*"


def _list_of(element: str) -> str:
    return rf"(large_|fixed_size_)?list<\w+: ({element}|null)( not null)?>(\[\d+\])?"


# Accepted types of parquet columns per dtype, as patterns of Arrow type names. pandas writes integers with missing
# values as floats, and a column without values as null, so these pass. The cast checks the values later.
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


def check(store: FeatureStore, view: FeatureView, columns: Mapping[str, Dtype | None]) -> None:
    """Check the columns of a feature view's source against the definitions.

    The column types of a warehouse have other names; for a warehouse only the column names are checked.

    Args:
        store: The feature store.
        view: The feature view.
        columns: Name in the view → declared dtype. None: a dtype that no tower takes; only the name is checked.

    Raises:
        InputError: If the source file does not exist or is not a complete parquet file, a column is missing, or a
            column does not have the declared type.
    """
    source = view.batch_source
    try:
        types = dict(source.get_table_column_names_and_types(store.config))
    except FileNotFoundError as error:
        raise InputError(
            f"feature view {view.name!r}: its source {_location(view)} does not exist. Write this file, or correct the "
            "path of the source."
        ) from error
    except pa.ArrowInvalid as error:
        raise InputError(
            f"feature view {view.name!r}: its source {_location(view)} is not a complete parquet file ({error}). Write "
            "the file again."
        ) from error
    stamp = source.timestamp_field
    for name, dtype in {**columns, stamp: Dtype.TIMESTAMP}.items():
        column = source_column(view, name)
        if column not in types:
            raise unknown(f"column of feature view {view.name!r} in {_location(view)}", column, types)
        if dtype and isinstance(source, FileSource) and not re.fullmatch(f"{ACCEPTED[dtype]}|null", types[column]):
            raise InputError(
                f"column {column!r} of feature view {view.name!r} in {_location(view)} has the type {types[column]}; "
                f"{dtype} needs {ARROW_TYPES[dtype]}. Correct the file, or the dtype of the field in the definitions."
            )


def dtypes(fields: Iterable[Field]) -> dict[str, Dtype | None]:
    """Return the dtype of each field of a feature view, by name. None: no tower takes the dtype."""
    return {f.name: Dtype(str(f.dtype)) if str(f.dtype) in set(Dtype) else None for f in fields}


def read(store: FeatureStore, view: FeatureView, columns: list[str], until: datetime | None = None) -> pa.Table:
    """Read the rows of a feature view's source.

    Args:
        store: The feature store.
        view: The feature view.
        columns: The columns to read, by their names in the view.
        until: Rows with a later timestamp are left out. None: all rows.

    Returns:
        The columns and the timestamp field, by their names in the view.
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


def latest(store: FeatureStore, view: FeatureView, until: datetime, size: int) -> Iterator[pa.Table]:
    """Read the newest row of each key of an online view: the rows that the online store should have.

    Args:
        store: The feature store, opened with `asof=True`.
        view: The feature view.
        until: Rows with a later timestamp are left out.
        size: The largest number of rows of a table.

    Yields:
        Tables with the join keys and features, by their names in the view and with the types of their dtypes, and the
        timestamps as `asof.TIME`. Columns with a dtype that no tower takes have the type of the source.

    Raises:
        InputError: If a value does not fit its dtype.
    """
    columns = dtypes([*view.entity_columns, *view.features])
    offline = store.provider.offline_store
    if isinstance(offline, AsOfOfflineStore):
        tables = offline.latest(store.config, view, until, size)
    else:
        tables = _latest_of_warehouse(store, view, until, size)
    for table in tables:
        data = [cast(table[name], name, dtype) if dtype else table[name] for name, dtype in columns.items()]
        yield pa.table([*data, cast(table[TIME], TIME, Dtype.TIMESTAMP)], names=[*columns, TIME])


def _latest_of_warehouse(store: FeatureStore, view: FeatureView, until: datetime, size: int) -> Iterator[pa.Table]:
    source = view.batch_source
    names = {column.name: source_column(view, column.name) for column in [*view.entity_columns, *view.features]}
    keys = [source_column(view, column.name) for column in view.entity_columns]
    job = store.provider.offline_store.pull_latest_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=keys,
        feature_name_columns=[column for column in names.values() if column not in keys],
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column or None,
        start_date=FIRST,
        end_date=until,
    )
    table = job.to_arrow()
    known = functools.reduce(pc.and_, [table[key].is_valid() for key in keys])
    table = table.select([*names.values(), source.timestamp_field]).rename_columns([*names, TIME]).filter(known)
    for start in range(0, table.num_rows, size):
        yield table.slice(start, size)


def state(store: FeatureStore, view: FeatureView, keys: list[str], as_of: datetime) -> dict[str, Any]:
    """Compute the statistics of a feature view's source that the data gate checks.

    Args:
        store: The feature store.
        view: The feature view.
        keys: The join keys of the view.
        as_of: The time of the pull.

    Returns:
        JSON values:

        - time, key: the names of the timestamp field and of the join keys.
        - rows: the number of rows.
        - keys: the number of distinct keys.
        - repeated: the share of rows with the key and timestamp of another row. 0 if the view has a created timestamp,
          which decides between such rows.
        - lag: days from the newest row up to `as_of`. None if there is no row.
        - longest_gap: the longest time between two consecutive timestamps, in days.
        - future: the number of rows with a timestamp after both `as_of` and now.
        - max_age_hours: the value of this tag, if the view has it.
    """
    stamp = view.batch_source.timestamp_field
    table = read(store, view, keys)
    micros = cast(table[stamp], stamp, Dtype.TIMESTAMP).cast(pa.int64()).drop_null().to_numpy()
    until = int(as_of.timestamp() * 1e6)
    instants = np.sort(micros[micros <= until])  # np.unique hashes, which takes 20 times as long for 10 million rows
    codes = [_codes(table[key]) for key in keys]
    statistics = {
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
        statistics["repeated"] = _repeats([*codes, micros]) / table.num_rows
    return statistics | ({"max_age_hours": float(view.tags["max_age_hours"])} if "max_age_hours" in view.tags else {})


def _codes(column: pa.ChunkedArray) -> Array:
    """Return a number for each distinct value; (rows,) int64."""
    if pa.types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(), dtype=np.int64)
    return np.asarray(column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(), dtype=np.int64)


def _repeats(columns: list[Array]) -> int:
    """Count the rows that equal an earlier row, by comparing 64-bit hashes."""
    mixed = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        mixed = mix(mixed ^ column.astype(np.uint64))
    mixed.sort()
    return int((mixed[1:] == mixed[:-1]).sum())


def cast(column: pa.ChunkedArray, name: str, dtype: Dtype) -> pa.ChunkedArray:
    """Cast a pulled column to the Arrow type of its dtype.

    Null elements of lists of integers or strings are removed, because an online store cannot keep them. Null elements
    of vectors become NaN.

    Args:
        column: The column.
        name: The name of the column, for the error message.
        dtype: The declared dtype.

    Returns:
        The column with the type `ARROW_TYPES[dtype]`.

    Raises:
        InputError: If a value does not fit the type.
    """
    try:
        # Timestamps may lose digits below a microsecond, and floats may be rounded to float32. Other casts are exact.
        cast = column.cast(ARROW_TYPES[dtype], safe=dtype not in (Dtype.TIMESTAMP, Dtype.FLOAT32, Dtype.FLOATS))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"column {name!r} has the type {column.type}, which does not fit {dtype} ({ARROW_TYPES[dtype]}): {error}. "
            "Correct the source, or the dtype of the field."
        ) from error
    is_list = dtype in (Dtype.STRINGS, Dtype.INTS, Dtype.FLOATS)
    return pa.chunked_array(map(_without_null_elements, cast.chunks), cast.type) if is_list else cast


def _without_null_elements(lists: pa.ListArray) -> pa.ListArray:
    elements = lists.flatten()
    if not elements.null_count:
        return lists
    if pa.types.is_floating(elements.type):
        kept, lengths = elements.fill_null(float("nan")), pc.list_value_length(lists).fill_null(0).to_numpy()
    else:
        parents = pc.list_parent_indices(lists).filter(elements.is_valid()).to_numpy()
        kept, lengths = elements.drop_null(), np.bincount(parents, minlength=len(lists))
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    return pa.ListArray.from_arrays(offsets, kept, mask=lists.is_null())


def is_missing(keys: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return for each key whether it is null or the empty text, which stands for a missing value."""
    if not pa.types.is_string(keys.type):
        return keys.is_null()
    return pc.fill_null(pc.equal(keys, MISSING_STRING), True)


@contextlib.contextmanager
def ibis_session() -> Iterator[None]:
    """Close the ibis connection of Feast's DuckDB store after the block, which frees all tables that were read.

    Hides a deprecation warning inside the block: ibis 12 calls a method of DuckDB by its old name.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
        try:
            yield
        finally:
            if ibis.options.default_backend is not None:
                ibis.options.default_backend.disconnect()
                ibis.options.default_backend = None


def _location(view: FeatureView) -> str:
    source = view.batch_source
    return source.path if isinstance(source, FileSource) else source.name
