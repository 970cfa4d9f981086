"""What the items of a release can be filtered by: the values of each column and how many items have them."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import Array
from two_tower.recommender.filters import filterable
from two_tower.schema import Contract, Dtype, Encoding

MOST_VALUES = 50  # of one column
MOST_ROWS = 200_000  # that are counted: the first ones
BINS = 24
_LISTS = (Dtype.STRINGS, Dtype.INTS)

Facet = dict[str, Any]


def facets(table: pa.Table, contract: Contract) -> list[Facet]:
    """Each column that a filter may name and that tells items apart, in the order of the contract.

    values: [value, items] pairs, the most frequent first (categories; elements of lists), distinct: how many there are;
    or least, most and bins: the range, and how many items lie in each of 24 equal parts of it (numbers and times).
    """
    table = table.slice(0, MOST_ROWS)
    as_values = {f.name for f in contract.item if f.is_discrete and f.encoding != Encoding.HISTORY}
    found = []
    for name, dtype in filterable(contract).items():
        if name == contract.item_key:
            continue
        facet = _values(table[name], dtype) if name in as_values else _range(table[name], dtype)
        if facet:
            found.append({"name": name, "dtype": dtype, **facet})
    return found


def _values(column: pa.ChunkedArray, dtype: Dtype) -> Facet | None:
    """None for a column of which nearly each item has a value of its own, such as an id."""
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
    """None for a column that has one value, or none."""
    numbers = _numbers(column, dtype)
    if not len(numbers) or (least := numbers.min()) == (most := numbers.max()):
        return None
    bins, _ = np.histogram(numbers, bins=BINS, range=(least, most))
    ends = {"least": least, "most": most}
    return {end: _bound(value, dtype) for end, value in ends.items()} | {"bins": bins.tolist()}


def _numbers(column: pa.ChunkedArray, dtype: Dtype) -> Array:
    """The values that are there, float64; times in seconds since 1970."""
    known = column.drop_null()
    if dtype == Dtype.TIMESTAMP:
        known = pc.divide(known.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), 1_000_000)
    numbers: Array = known.cast(pa.float64(), safe=False).to_numpy()
    return numbers[np.isfinite(numbers)]


def _bound(value: float, dtype: Dtype) -> float | str:
    return datetime.fromtimestamp(value, UTC).date().isoformat() if dtype == Dtype.TIMESTAMP else float(value)
