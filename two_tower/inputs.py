"""Convert raw Feast values to the numpy arrays that the ONNX models and the training encoders take.

This module changes only the container (Arrow column → numpy array). All transformations of values are in the ONNX
graph. A missing value becomes "" (strings), the minimum of int64 (integers, booleans, timestamps) or NaN (floats).
Lists are padded on the right with the same values.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.errors import InputError
from two_tower.schema import EVENT_TIME, MISSING_INT, MISSING_STRING, Dtype, Feature, needs_event_time

Array = npt.NDArray[Any]

_NAN = float("nan")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ARROW_TYPES: dict[Dtype, pa.DataType] = {
    Dtype.STRING: pa.string(),
    Dtype.INT64: pa.int64(),
    Dtype.FLOAT32: pa.float32(),
    Dtype.FLOAT64: pa.float64(),
    Dtype.BOOL: pa.bool_(),
    Dtype.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Dtype.STRINGS: pa.list_(pa.string()),
    Dtype.INTS: pa.list_(pa.int64()),
    Dtype.FLOATS: pa.list_(pa.float32()),
}


def arrow_schema(features: Iterable[Feature]) -> pa.Schema:
    """Return the Arrow schema of a table with one column per feature."""
    return pa.schema([(f.name, ARROW_TYPES[f.dtype]) for f in features])


def table_from_rows(rows: Sequence[Mapping[str, Any]], features: tuple[Feature, ...]) -> pa.Table:
    """Convert rows of Python values, from an online store or a request, to an Arrow table.

    Args:
        rows: One mapping per row, feature name → value. A feature without a value is missing (null).
        features: The columns of the table.

    Returns:
        A table with one column per feature, in the order of `features`.

    Raises:
        InputError: If a value does not have the dtype of its feature.
    """
    columns = {}
    for f in features:
        values = _validated([row.get(f.name) for row in rows], f)
        try:
            columns[f.name] = pa.array(values, type=ARROW_TYPES[f.dtype])
        except (pa.ArrowInvalid, OverflowError) as error:
            raise _type_error(f, values) from error
    return pa.table(columns, schema=arrow_schema(features))


def inputs_from_rows(
    rows: Sequence[Mapping[str, Any]], features: tuple[Feature, ...], event_time: Array | None = None
) -> dict[str, Array]:
    """Convert rows of Python values directly to the ONNX inputs of one tower.

    The result equals `to_inputs(table_from_rows(rows, features), features, event_time)`. For a few rows it is many
    times faster.

    Args:
        rows: One mapping per row, feature name → value. A feature without a value is missing.
        features: The features of the tower.
        event_time: (rows,) int64, seconds since 1970. Required if the tower has an age feature.

    Returns:
        One array per feature, by name; see `to_inputs`.

    Raises:
        InputError: If a value does not have the dtype of its feature, or the vectors of a feature differ in width.
    """
    inputs = {}
    for f in features:
        values = _validated([row.get(f.name) for row in rows], f)
        try:
            inputs[f.name] = _to_array(values, f)
        except OverflowError as error:
            raise _type_error(f, values) from error
    if needs_event_time(features):
        assert event_time is not None and len(event_time) == len(rows)
        inputs[EVENT_TIME] = np.ascontiguousarray(event_time, dtype=np.int64)
    return inputs


_PYTHON_TYPES: dict[Dtype, tuple[type, ...]] = {  # types of a value, or of the elements of a list
    Dtype.STRING: (str,),
    Dtype.INT64: (int, np.integer),
    Dtype.FLOAT32: (float, int, np.floating, np.integer),
    Dtype.FLOAT64: (float, int, np.floating, np.integer),
    Dtype.BOOL: (bool, np.bool_),
    Dtype.TIMESTAMP: (datetime,),
    Dtype.STRINGS: (str,),
    Dtype.INTS: (int, np.integer),
    Dtype.FLOATS: (float, int, np.floating, np.integer),
}
_LISTS = (Dtype.STRINGS, Dtype.INTS, Dtype.FLOATS)
_FLOATS = (Dtype.FLOAT32, Dtype.FLOAT64, Dtype.FLOATS)


def _validated(values: list[Any], f: Feature) -> list[Any]:
    """Check the types of a feature's values and convert the numbers of float features to float.

    Arrow does not check enough: it truncates 1.5 to 1 for an integer, and reads a string as a list of its characters.
    """
    if f.dtype not in _LISTS:
        return _validated_scalars(values, f, values)
    for value in values:
        if not (value is None or isinstance(value, list | tuple | np.ndarray)):
            raise _type_error(f, values)
    return [None if value is None else _validated_scalars(value, f, values) for value in values]


def _validated_scalars(scalars: Iterable[Any], f: Feature, values: list[Any]) -> list[Any]:
    types, is_bool = _PYTHON_TYPES[f.dtype], f.dtype == Dtype.BOOL
    if {type(None), types[0]}.issuperset(map(type, scalars)):  # the usual case, and the loop runs in C
        return list(scalars)
    for value in scalars:
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and not is_bool)):
            raise _type_error(f, values)
    if f.dtype not in _FLOATS:
        return list(scalars)
    try:
        return [None if value is None else float(value) for value in scalars]
    except OverflowError as error:  # an integer beyond the range of float
        raise _type_error(f, values) from error


def _type_error(f: Feature, values: list[Any]) -> InputError:
    examples = ", ".join(repr(value)[:40] for value in values[:3])
    return InputError(f"feature {f.name!r} takes values of type {f.dtype}; got {examples}.")


def _to_array(values: list[Any], f: Feature) -> Array:
    """Convert validated Python values to the same array as `column_to_input`."""
    match f.dtype:
        case Dtype.STRING:
            return np.array([MISSING_STRING if v is None else v for v in values], dtype=object)
        case Dtype.INT64 | Dtype.BOOL:
            return np.array([MISSING_INT if v is None else v for v in values], dtype=np.int64)
        case Dtype.TIMESTAMP:
            return np.array([MISSING_INT if v is None else _seconds(v) for v in values], dtype=np.int64)
        case Dtype.FLOAT32 | Dtype.FLOAT64:
            return _float32([_NAN if v is None else v for v in values])
        case Dtype.STRINGS:
            return _padded(values, f, MISSING_STRING, np.dtype(object))
        case Dtype.INTS:
            return _padded(values, f, MISSING_INT, np.dtype(np.int64))
        case Dtype.FLOATS:
            return _matrix(values, f)


def _float32(values: list[Any]) -> Array:
    with np.errstate(over="ignore"):  # a number beyond the range of float32 becomes infinite, as in Arrow
        return np.array(values, dtype=np.float64).astype(np.float32)


def _seconds(moment: datetime) -> int:
    """Return whole seconds since 1970, rounded towards 1970. A time without a time zone is UTC."""
    elapsed = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    microseconds = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
    return microseconds // 1_000_000 if microseconds >= 0 else -(-microseconds // 1_000_000)


def _padded(lists: list[list[Any] | None], f: Feature, missing: str | int, dtype: np.dtype[Any]) -> Array:
    newest = [[missing if v is None else v for v in row[-f.max_length :]] if row else [] for row in lists]
    length = max((len(row) for row in newest), default=0) or 1
    return np.array([row + [missing] * (length - len(row)) for row in newest], dtype=dtype).reshape(len(lists), length)


def _matrix(vectors: list[list[float | None] | None], f: Feature) -> Array:
    widths = sorted({len(row) for row in vectors if row})
    if len(widths) > 1:
        raise _width_error(f, widths)
    width = widths[0] if widths else 1
    return _float32([[_NAN if v is None else v for v in row] if row else [_NAN] * width for row in vectors]).reshape(
        len(vectors), width
    )


def to_inputs(table: pa.Table, features: tuple[Feature, ...], event_time: Array | None = None) -> dict[str, Array]:
    """Convert a table to the ONNX inputs of one tower.

    Args:
        table: One column per feature.
        features: The features of the tower.
        event_time: (rows,) int64, seconds since 1970. Required if the tower has an age feature.

    Returns:
        One array per feature, by name, and `event_time` if the tower has an age feature. The dtype is object (strings),
        int64 or float32. The shape is (rows,), or (rows, length) for lists.

    Raises:
        InputError: If the vectors of a feature differ in width.
    """
    inputs = {f.name: column_to_input(table.column(f.name), f) for f in features}
    if needs_event_time(features):
        assert event_time is not None and len(event_time) == table.num_rows
        inputs[EVENT_TIME] = np.ascontiguousarray(event_time, dtype=np.int64)
    return inputs


def column_to_input(column: pa.ChunkedArray, f: Feature) -> Array:
    """Convert one column to the array that the ONNX input of the feature takes.

    Args:
        column: (rows,) values of the Arrow type of the feature's dtype.
        f: The feature.

    Returns:
        (rows,) or, for lists, (rows, length) array of object (strings), int64 or float32.

    Raises:
        InputError: If the vectors of a vector feature differ in width.
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    match f.dtype:
        case Dtype.STRING:
            return np.asarray(values.fill_null(MISSING_STRING).to_numpy(zero_copy_only=False), dtype=object)
        case Dtype.INT64 | Dtype.BOOL:
            return _to_int(values)
        case Dtype.TIMESTAMP:
            return _to_int(values.cast(pa.timestamp("s", tz="UTC"), safe=False))
        case Dtype.FLOAT32 | Dtype.FLOAT64:
            return np.asarray(values.cast(pa.float32()).fill_null(float("nan")).to_numpy(zero_copy_only=False))
        case Dtype.STRINGS:
            return _pad(values, f, MISSING_STRING, np.dtype(object))
        case Dtype.INTS:
            return _pad(values, f, MISSING_INT, np.dtype(np.int64))
        case Dtype.FLOATS:
            return _to_matrix(values, f)


def _to_int(values: pa.Array) -> Array:
    return np.asarray(values.cast(pa.int64()).fill_null(MISSING_INT).to_numpy(zero_copy_only=False))


def _lengths(values: pa.Array) -> Array:
    return np.asarray(pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _pad(values: pa.Array, f: Feature, missing: str | int, dtype: np.dtype[Any]) -> Array:
    """Return the newest `max_length` elements of each list as (rows, length), where length is at least 1."""
    lengths = _lengths(values)
    ends = np.cumsum(lengths)
    kept = np.minimum(lengths, f.max_length)
    padded = np.full((len(values), max(1, int(kept.max(initial=1)))), missing, dtype=dtype)
    flat = values.flatten().fill_null(missing).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(values)), kept)
    columns = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
    padded[rows, columns] = flat[np.repeat(ends - kept, kept) + columns]
    return padded


def _to_matrix(values: pa.Array, f: Feature) -> Array:
    """Return vectors of one width as (rows, width) float32. A missing vector becomes a row of NaN."""
    lengths = _lengths(values)
    widths = np.unique(lengths[lengths > 0])
    if len(widths) > 1:
        raise _width_error(f, widths.tolist())
    matrix = np.full((len(values), int(widths[0]) if len(widths) else 1), np.nan, dtype=np.float32)
    matrix[lengths > 0] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, matrix.shape[1])
    return matrix


def _width_error(f: Feature, widths: list[int]) -> InputError:
    return InputError(f"feature {f.name!r} has vectors of widths {widths[:5]}; all must have the same width.")
