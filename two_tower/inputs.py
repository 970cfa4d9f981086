"""Raw Feast values as arrays: what the ONNX files take, and what training looks up in its vocabularies.

Only the container changes here (Arrow column → numpy array); every transformation of a value lives inside the ONNX
graph. A missing value becomes "" (strings), the least int64 (integers, booleans, timestamps) or NaN (floats); a list is
padded with the same on the right.
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
    return pa.schema([(f.name, ARROW_TYPES[f.dtype]) for f in features])


def table_from_rows(rows: Sequence[Mapping[str, Any]], features: tuple[Feature, ...]) -> pa.Table:
    """Rows as an online store or a request gives them, as a typed table; an absent feature is missing.

    Raises InputError, naming the feature and the value, where a value is not of the feature's dtype.
    """
    columns = {}
    for f in features:
        values = _checked([row.get(f.name) for row in rows], f)
        try:
            columns[f.name] = pa.array(values, type=ARROW_TYPES[f.dtype])
        except (pa.ArrowInvalid, OverflowError) as error:
            raise _mistyped(f, values) from error
    return pa.table(columns, schema=arrow_schema(features))


def inputs_from_rows(
    rows: Sequence[Mapping[str, Any]], features: tuple[Feature, ...], event_time: Array | None = None
) -> dict[str, Array]:
    """What `to_inputs` makes of `table_from_rows`, straight from Python values: many times faster for a few rows.

    Raises InputError as both of them do.
    """
    inputs = {}
    for f in features:
        values = _checked([row.get(f.name) for row in rows], f)
        try:
            inputs[f.name] = _to_array(values, f)
        except OverflowError as error:
            raise _mistyped(f, values) from error
    if needs_event_time(features):
        assert event_time is not None and len(event_time) == len(rows)
        inputs[EVENT_TIME] = np.ascontiguousarray(event_time, dtype=np.int64)
    return inputs


_PYTHON_TYPES: dict[Dtype, tuple[type, ...]] = {  # of a value, or of a list's elements
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


def _checked(values: list[Any], f: Feature) -> list[Any]:
    """The values of one feature, numbers of float features as floats.

    Arrow by itself would cut 1.5 to 1 for an integer, and read a text as a list of its letters.
    """
    if f.dtype not in _LISTS:
        return _checked_scalars(values, f, values)
    for value in values:
        if not (value is None or isinstance(value, list | tuple | np.ndarray)):
            raise _mistyped(f, values)
    return [None if value is None else _checked_scalars(value, f, values) for value in values]


def _checked_scalars(scalars: Iterable[Any], f: Feature, shown: list[Any]) -> list[Any]:
    types, is_bool = _PYTHON_TYPES[f.dtype], f.dtype == Dtype.BOOL
    if {type(None), types[0]}.issuperset(map(type, scalars)):  # nearly always, and a loop in C
        return list(scalars)
    for value in scalars:
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and not is_bool)):
            raise _mistyped(f, shown)
    if f.dtype not in _FLOATS:
        return list(scalars)
    try:
        return [None if value is None else float(value) for value in scalars]
    except OverflowError as error:  # an integer that no float can hold
        raise _mistyped(f, shown) from error


def _mistyped(f: Feature, values: list[Any]) -> InputError:
    shown = ", ".join(repr(value)[:40] for value in values[:3])
    return InputError(f"feature {f.name!r} takes values of type {f.dtype}; got {shown}.")


def _to_array(values: list[Any], f: Feature) -> Array:
    """What `column_to_input` makes of the same values, checked."""
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
    with np.errstate(over="ignore"):  # a number beyond float32 is infinite, as Arrow has it
        return np.array(values, dtype=np.float64).astype(np.float32)


def _seconds(moment: datetime) -> int:
    """Whole seconds since 1970, towards it, of a time that is UTC where it says nothing else."""
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return microseconds // 1_000_000 if microseconds >= 0 else -(-microseconds // 1_000_000)


def _padded(lists: list[list[Any] | None], f: Feature, missing: str | int, dtype: np.dtype[Any]) -> Array:
    kept = [[missing if v is None else v for v in one[-f.max_length :]] if one else [] for one in lists]
    longest = max((len(one) for one in kept), default=0) or 1
    return np.array([one + [missing] * (longest - len(one)) for one in kept], dtype=dtype).reshape(len(lists), longest)


def _matrix(vectors: list[list[float | None] | None], f: Feature) -> Array:
    widths = sorted({len(one) for one in vectors if one})
    if len(widths) > 1:
        raise _widths(f, widths)
    width = widths[0] if widths else 1
    return _float32([[_NAN if v is None else v for v in one] if one else [_NAN] * width for one in vectors]).reshape(
        len(vectors), width
    )


def to_inputs(table: pa.Table, features: tuple[Feature, ...], event_time: Array | None = None) -> dict[str, Array]:
    """The ONNX inputs of one tower, by feature name.

    table: one column per feature, [rows].
    event_time: int64 seconds, [rows]; needed where the tower has an age feature.
    Returns arrays of strings (object), int64 or float32: [rows], or [rows, length] for lists.
    """
    inputs = {f.name: column_to_input(table.column(f.name), f) for f in features}
    if needs_event_time(features):
        assert event_time is not None and len(event_time) == table.num_rows
        inputs[EVENT_TIME] = np.ascontiguousarray(event_time, dtype=np.int64)
    return inputs


def column_to_input(column: pa.ChunkedArray, f: Feature) -> Array:
    """One column as the array that the feature's ONNX input takes."""
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
    """The newest `max_length` elements of each list, [rows, length]; length is at least 1."""
    lengths = _lengths(values)
    ends = np.cumsum(lengths)
    kept = np.minimum(lengths, f.max_length)
    padded = np.full((len(values), max(1, int(kept.max(initial=1)))), missing, dtype=dtype)
    flat = values.flatten().fill_null(missing).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(values)), kept)
    places = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
    padded[rows, places] = flat[np.repeat(ends - kept, kept) + places]
    return padded


def _to_matrix(values: pa.Array, f: Feature) -> Array:
    """Vectors of one width, [rows, width]; a missing vector is a row of NaN."""
    lengths = _lengths(values)
    widths = np.unique(lengths[lengths > 0])
    if len(widths) > 1:
        raise _widths(f, widths.tolist())
    matrix = np.full((len(values), int(widths[0]) if len(widths) else 1), np.nan, dtype=np.float32)
    matrix[lengths > 0] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, matrix.shape[1])
    return matrix


def _widths(f: Feature, widths: list[int]) -> InputError:
    return InputError(f"feature {f.name!r} has vectors of widths {widths[:5]}; one width is allowed.")
