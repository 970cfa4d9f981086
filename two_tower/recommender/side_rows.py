"""The rows of a side index: their columns, and the newest row of each item."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import Array
from two_tower.schema import EMBEDDING

UPDATED = "two_tower_updated"  # column: when the row was written, by the clock of the storage; null: the file's time
KEEP = "two_tower_keep"  # column: seconds after `UPDATED` until the row expires; null: never
REMOVED = "two_tower_removed"  # column: whether the row removes the item
COUNTER, TIE = "two_tower_counter", "two_tower_tie"  # columns: the version of a row


def log_schema(key: pa.Field, features: Iterable[pa.Field]) -> pa.Schema:
    """Schema of the log's rows: key, features, time, expiry, version and embedding."""
    return pa.schema(
        [
            key,
            *features,
            (UPDATED, pa.timestamp("us", tz="UTC")),
            (KEEP, pa.int64()),
            (REMOVED, pa.bool_()),
            (COUNTER, pa.int64()),
            (TIE, pa.int64()),
            (EMBEDDING, pa.list_(pa.float32())),
        ]
    )


class Newest:
    """The newest row of each item. Attribute rows: the rows, one per item.

    Args:
        schema: schema of the rows, of `log_schema`; the first column is the key.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows: pa.Table = schema.empty_table()
        self._key = schema.names[0]
        self._versions: dict[object, tuple[int, int]] = {}

    def add(self, rows: pa.Table) -> pa.Table:
        """Add rows, and return those that were newer than the row of their item."""
        newest: dict[object, int] = {}
        columns = (rows[name].to_pylist() for name in (self._key, COUNTER, TIE))
        for place, (item, *version) in enumerate(zip(*columns, strict=True)):
            if tuple(version) > self._versions.get(item, (-1, 0)):
                self._versions[item] = tuple(version)
                newest[item] = place
        if not newest:
            return rows.slice(0, 0)
        if len(newest) < len(rows):
            rows = rows.take(pa.array(list(newest.values()), pa.int64()))
        others = self.rows.filter(pc.invert(pc.is_in(self.rows[self._key], value_set=rows[self._key])))
        self.rows = pa.concat_tables([others, rows]).combine_chunks()
        return rows

    def drop(self, mask: pa.Array) -> None:
        """Forget the rows of a mask, (rows,) bool."""
        for item in self.rows[self._key].filter(mask).to_pylist():
            del self._versions[item]
        self.rows = self.rows.filter(pc.invert(mask))


def seconds(rows: pa.Table) -> Array:
    """Times of rows, seconds since 1970, (rows,) float64; NaN until the storage has listed their file."""
    return np.asarray(rows[UPDATED].cast(pa.int64()).to_numpy() / 1e6)


def expiry(rows: pa.Table, times: Array) -> Array:
    """When rows expire, seconds since 1970, (rows,) float64; infinite for those that do not expire."""
    keep = rows[KEEP].cast(pa.float64()).fill_null(np.inf).to_numpy()
    return np.nan_to_num(times + keep, nan=np.inf, posinf=np.inf)
