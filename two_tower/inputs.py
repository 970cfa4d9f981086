"""Raw Feast values as arrays: what the ONNX files take, and what training looks up in its vocabularies.

Only the container changes here (Arrow column → numpy array); every transformation of a value lives inside the ONNX
graph. A missing value becomes "" (strings), the least int64 (integers, booleans, timestamps) or NaN (floats); a list is
padded with the same on the right.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.errors import InputError
from two_tower.schema import EVENT_TIME, MISSING_INT, MISSING_STRING, Dtype, Feature, needs_event_time

Array = npt.NDArray[Any]

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
        values = [row.get(f.name) for row in rows]
        try:
            columns[f.name] = _typed(values, ARROW_TYPES[f.dtype])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            shown = ", ".join(repr(v)[:40] for v in values[:3])
            raise InputError(f"feature {f.name!r} takes values of type {f.dtype}; got {shown}.") from error
    return pa.table(columns, schema=arrow_schema(features))


def _typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind) and any(isinstance(v, (str, bytes)) for v in values):
        raise pa.ArrowTypeError("Arrow would read a text as a list of its letters")
    return pa.array(values, type=kind)


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
        raise InputError(f"feature {f.name!r} has vectors of widths {widths[:5].tolist()}; one width is allowed.")
    matrix = np.full((len(values), int(widths[0]) if len(widths) else 1), np.nan, dtype=np.float32)
    matrix[lengths > 0] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, matrix.shape[1])
    return matrix
