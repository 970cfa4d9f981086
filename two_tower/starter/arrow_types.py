"""Convert the columns of files and data frames to the Arrow types that the library reads."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    types.is_list,
    types.is_large_list,
    types.is_list_view,
    types.is_large_list_view,
    types.is_fixed_size_list,
)
_TEXTS: tuple[Callable[[pa.DataType], bool], ...] = (
    types.is_large_string,
    types.is_string_view,
    types.is_binary,
    types.is_large_binary,
    types.is_binary_view,
)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a column to a plain type that keeps its values.

    Args:
        column: A column of any type.

    Returns:
        (rows,) the column: float16 as float32; decimals and uint64 as int64 if all values are whole and fit, else as
        float64 or, for whole numbers, as text; dictionaries, UUIDs and other extension types as their values; UTF-8
        bytes as text; columns of nulls as text; lists of any layout as lists of plain elements. A list has no null
        elements, and a vector with a null or NaN element is null. Other types are unchanged.
    """
    type_ = column.type
    if isinstance(type_, pa.BaseExtensionType):
        return plain(_storage(column))
    if types.is_dictionary(type_):
        return plain(column.cast(type_.value_type))
    if types.is_float16(type_):
        return column.cast(pa.float32())
    if types.is_null(type_):
        return column.cast(pa.string())
    if types.is_decimal(type_) or types.is_uint64(type_):
        return _whole_or_real(column)
    if any(is_type(type_) for is_type in _TEXTS):
        return _text(column)
    if any(is_type(type_) for is_type in _LISTS):
        return _lists(column)
    return column


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type == pa.uuid():
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())])
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:  # bytes that are not UTF-8
        return column


def _whole_or_real(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert decimals and uint64; ids beyond int64 become text, which keeps all digits."""
    whole = types.is_uint64(column.type) or column.type.scale <= 0
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.string() if whole else pa.float64())


def _lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    elements = pa.chunked_array([pc.list_flatten(lists)])
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    converted = plain(elements).combine_chunks()
    missing = converted.is_null(nan_is_null=types.is_floating(converted.type))
    null = np.asarray(lists.is_null())
    if pc.any(missing).as_py():
        owner = np.repeat(np.arange(len(lists)), lengths)[np.asarray(missing)]
        if types.is_floating(converted.type):
            null[owner] = True
        else:
            lengths = lengths - np.bincount(owner, minlength=len(lists))
            converted = converted.filter(pc.invert(missing))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    made = pa.ListArray.from_arrays(pa.array(offsets), converted, mask=pa.array(null))
    return pa.chunked_array([made])
