"""Measure whether a column of the interactions is constant per user or per item."""

from typing import Any

import numpy as np
import pyarrow as pa


def codes(ids: pa.Array) -> Any:
    """Return each key as a number from 0, and -1 for a missing key."""
    return np.asarray(ids.dictionary_encode().indices.fill_null(-1)).astype(np.int64)


def first_rows(code: Any, column: pa.ChunkedArray) -> pa.Array:
    """Return the first row of each key with a value in the column."""
    known = np.flatnonzero((code >= 0) & np.asarray(column.is_valid()))
    return pa.array(known[np.unique(code[known], return_index=True)[1]])


def steadiness(code: Any, column: pa.ChunkedArray) -> float:
    """Return the share of later events of a key with the value of its first event; 0 if keys have only one event."""
    if pa.types.is_nested(column.type):
        return 0.0
    value = np.asarray(column.combine_chunks().dictionary_encode().indices.fill_null(-1)).astype(np.int64)
    known = np.flatnonzero((code >= 0) & (value >= 0))
    _, first, inverse = np.unique(code[known], return_index=True, return_inverse=True)
    later = np.ones(len(known), dtype=bool)
    later[first] = False
    if not later.any():
        return 0.0
    return float(np.mean(value[known][later] == value[known][first[inverse[later]]]))
