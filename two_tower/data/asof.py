"""Point-in-time lookup: the newest row of a feature view for a key at or before a timestamp."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from two_tower.inputs import Array

KEY, TIME, CREATED = "two_tower_key", "two_tower_time", "two_tower_created"  # columns in addition to the features
_SCRATCH = (KEY, TIME, CREATED)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = np.iinfo(np.int64).min
_STAMP = pa.timestamp("us", tz="UTC")


class FeatureRows:
    """The rows of one feature view, read once for any number of lookups.

    The rows are in a temporary file ($TMPDIR), which is memory-mapped and already unlinked. Memory holds only 24 bytes
    per row (row number, time, and rank by key and time) and the distinct keys. The cost of a lookup depends on the
    number of entities, not on the number of rows.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Read the rows.

        Args:
            schema: KEY, TIME (timestamp), optionally CREATED (timestamp), and the features.
            batches: The rows, in any order.
        """
        with tempfile.NamedTemporaryFile(prefix="two-tower-rows-") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            table = pa.ipc.open_file(pa.memory_map(file.name)).read_all()
        self._features = table.drop_columns([c for c in _SCRATCH if c in table.column_names])
        coded = table[KEY].combine_chunks().dictionary_encode()
        self._keys = pd.Index(coded.dictionary.to_pandas())
        time = _micros(table[TIME])
        self._times = np.sort(time)
        # The rank orders rows by key, then time. Rows with equal key and time have equal ranks: searchsorted counts
        # earlier times only. Both sorts are stable, so that of such rows the last one counts.
        rank = coded.indices.to_numpy().astype(np.int64) * self._span + np.searchsorted(self._times, time)
        created = [_micros(table[CREATED])] if CREATED in table.column_names else []
        self._order = np.lexsort((*created, rank))
        self._ranks = rank[self._order]

    @property
    def _span(self) -> int:
        return len(self._times) + 1

    def as_of(
        self, keys: pd.Series, stamps: pa.ChunkedArray, ttl: timedelta | None, names: Sequence[str] | None = None
    ) -> pa.Table:
        """Look up the features of the newest row of each key at or before each timestamp.

        If several rows have the same key and time, the row that was created last counts. Without CREATED, or with the
        same CREATED too, the last of these rows counts.

        Args:
            keys: (entities,) keys.
            stamps: (entities,) timestamps.
            ttl: The maximum age of a row. None: unlimited.
            names: The features to return. None: all.

        Returns:
            The features, one row per entity. All are null if the key has no row at or before the timestamp, or its
            newest row is older than `ttl`.
        """
        micros = _micros(stamps)
        position, known = self._newest(self._keys.get_indexer(keys).astype(np.int64), micros)
        if ttl:
            known[known] = self._time(position[known]) >= micros[known] - ttl // _MICROSECOND
        return self._take(self._order[position[known]], known, names)

    def latest(self, until: datetime, size: int) -> Iterator[pa.Table]:
        """Yield the newest row of every key at or before one time; the same rows as `as_of` without a ttl.

        Args:
            until: The time, with a time zone.
            size: The largest number of rows of a table.

        Yields:
            Tables with the features and TIME.
        """
        limit = (until - datetime.fromtimestamp(0, UTC)) // _MICROSECOND
        codes = np.arange(len(self._keys))
        position, known = self._newest(codes, np.full(len(codes), limit))
        position = position[known]
        for start in range(0, len(position), size):
            part = position[start : start + size]
            features = self._take(self._order[part], np.ones(len(part), dtype=bool), None)
            yield features.append_column(TIME, pa.array(self._time(part), pa.int64()).cast(_STAMP))

    def _newest(self, code: Array, micros: Array) -> tuple[Array, Array]:
        """Return the position in `_ranks` of the newest row of each key at or before a time, and whether it exists."""
        upper = code * self._span + np.searchsorted(self._times, micros, side="right")
        position = np.searchsorted(self._ranks, upper) - 1
        known = position >= 0  # false for an unknown key: its code is -1
        known[known] = self._ranks[position[known]] >= (code * self._span)[known]
        return position, known

    def _time(self, position: Array) -> Array:
        return np.asarray(self._times[self._ranks[position] % self._span])

    def _take(self, rows: Array, known: Array, names: Sequence[str] | None) -> pa.Table:
        """Return the given rows at the positions where `known` is true, and nulls at the others.

        The rows are taken from one batch at a time. From all batches at once, Arrow would copy whole columns of lists
        or strings to memory.
        """
        distinct, inverse = np.unique(rows, return_inverse=True)
        features = self._features if names is None else self._features.select(list(names))
        batches = features.to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        cuts = np.searchsorted(distinct, starts)
        selected = [
            batch.take(pa.array(distinct[begin:end] - start))
            for batch, start, begin, end in zip(batches, starts, cuts, cuts[1:], strict=False)
            if begin < end
        ]
        indices = np.zeros(len(known), dtype=np.int64)
        indices[known] = inverse
        return pa.Table.from_batches(selected, features.schema).take(pa.array(indices, mask=~known))


def _micros(stamps: pa.ChunkedArray) -> Array:
    """Return microseconds since 1970 as int64; nulls sort before all other values."""
    cast = stamps.cast(_STAMP, safe=False).cast(pa.int64())
    return np.asarray(cast.fill_null(_EARLIEST).to_numpy())
