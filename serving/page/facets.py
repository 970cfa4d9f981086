"""Facets for the filters of the page: the values of each item column and how many items have them."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import Array
from two_tower.recommender.filters import filterable
from two_tower.schema import Contract, Dtype, Encoding

MOST_VALUES = 50  # of one column
MOST_ROWS = 200_000  # first rows of the catalogue, which are counted
BINS = 24
_LISTS = (Dtype.STRINGS, Dtype.INTS)

Facet = dict[str, Any]


def facets(table: pa.Table, contract: Contract) -> list[Facet]:
    """Facets of the columns that a filter may name and that differ between items, in the order of the contract.

    Args:
        table: items.parquet.
        contract: feature contract of the release.

    Returns:
        One dictionary per column. Categories and lists have `values`, pairs of value and number of items, most frequent
        first, and `distinct`, the number of values. Numbers and times have `least`, `most` and `bins`, the number of
        items in each of 24 equal parts of the range.
    """
    table = table.slice(0, MOST_ROWS)
    as_values = {f.name for f in contract.item if f.is_discrete and f.encoding != Encoding.HISTORY}
    result = []
    for name, dtype in filterable(contract).items():
        if name == contract.item_key:
            continue
        facet = _values(table[name], dtype) if name in as_values else _range(table[name], dtype)
        if facet:
            result.append({"name": name, "dtype": dtype, **facet})
    return result


def _values(column: pa.ChunkedArray, dtype: Dtype) -> Facet | None:
    """None for a column in which nearly every item has its own value, such as an id."""
    flat = pc.list_flatten(column) if dtype in _LISTS else column
    counted = flat.drop_null().value_counts()
    values, counts = counted.field("values"), counted.field("counts")
    own = dtype not in _LISTS and len(counts) > max(MOST_VALUES, len(column) / 2)
    if own or not len(counts):
        return None
    best = pc.select_k_unstable(counts, k=min(MOST_VALUES, len(counts)), sort_keys=[("counts", "descending")])
    pairs = zip(values.take(best).to_pylist(), counts.take(best).to_pylist(), strict=True)
    return {"values": [list(pair) for pair in pairs], "distinct": len(counts)}


def _range(column: pa.ChunkedArray, dtype: Dtype) -> Facet | None:
    """None for a column with fewer than two values."""
    numbers = _numbers(column, dtype)
    if not len(numbers) or (least := numbers.min()) == (most := numbers.max()):
        return None
    bins, _ = np.histogram(numbers, bins=BINS, range=(least, most))
    ends = {"least": least, "most": most}
    return {end: _bound(value, dtype) for end, value in ends.items()} | {"bins": bins.tolist()}


def _numbers(column: pa.ChunkedArray, dtype: Dtype) -> Array:
    """Values that are not missing, float64; times in seconds since 1970."""
    known = column.drop_null()
    if dtype == Dtype.TIMESTAMP:
        known = pc.divide(known.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), 1_000_000)
    numbers: Array = known.cast(pa.float64(), safe=False).to_numpy()
    return numbers[np.isfinite(numbers)]


def _bound(value: float, dtype: Dtype) -> float | str:
    return datetime.fromtimestamp(value, UTC).date().isoformat() if dtype == Dtype.TIMESTAMP else float(value)
