"""Rows of a feature view, and which of them is the newest of a key at or before an instant."""

import tempfile
from collections.abc import Iterable
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from two_tower.inputs import Array

KEY, TIME, CREATED = "two_tower_key", "two_tower_time", "two_tower_created"  # columns beside the features
_SCRATCH = (KEY, TIME, CREATED)
_EARLIEST = np.iinfo(np.int64).min
_STAMP = pa.timestamp("us", tz="UTC")


class FeatureRows:
    """The rows of one feature view, read once and then asked for as often as need be.

    The rows lie in a scratch file ($TMPDIR) that is mapped and has no name any more, so that they need no memory but
    for 24 bytes of each (its number, its time, its place by key and time) and the distinct keys. A question costs as
    much as it has entities, whatever the number of rows.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """The columns KEY, TIME and, if there is one, CREATED (both timestamps), and the features."""
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
        # Ordered by key, then time; of equal ones the number is one, for only earlier rows are counted.
        place = coded.indices.to_numpy().astype(np.int64) * self._span + np.searchsorted(self._times, time)
        self._order = np.lexsort((_micros(table[CREATED]), place)) if CREATED in table.column_names else place.argsort()
        self._places = place[self._order]

    @property
    def _span(self) -> int:
        return len(self._times) + 1

    def as_of(self, keys: pd.Series, stamps: pa.ChunkedArray, ttl: timedelta | None) -> pa.Table:
        """The features of the newest row of each key at or before each instant, [entities]; null where there is none,
        and where it is older than `ttl`. Of rows of one key and time the last created counts.
        """
        micros = _micros(stamps)
        code = self._keys.get_indexer(keys).astype(np.int64)
        before = code * self._span + np.searchsorted(self._times, micros, side="right")
        found = np.searchsorted(self._places, before) - 1
        known = found >= 0  # not so for an unknown key, whose code is -1
        known[known] = self._places[found[known]] >= (code * self._span)[known]
        if ttl:
            time = self._times[self._places[found[known]] % self._span]
            known[known] = time >= micros[known] - ttl // timedelta(microseconds=1)
        return self._take(self._order[found[known]], known)

    def _take(self, rows: Array, known: Array) -> pa.Table:
        """Rows by their numbers, each where `known` is true, and nulls elsewhere.

        Batch by batch: taken from all of them at once, a column of lists or texts would be copied to memory whole.
        """
        wanted, inverse = np.unique(rows, return_inverse=True)
        batches = self._features.to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        cuts = np.searchsorted(wanted, starts)
        taken = [
            batch.take(pa.array(wanted[begin:end] - start))
            for batch, start, begin, end in zip(batches, starts, cuts, cuts[1:], strict=False)
            if begin < end
        ]
        place = np.zeros(len(known), dtype=np.int64)
        place[known] = inverse
        return pa.Table.from_batches(taken, self._features.schema).take(pa.array(place, mask=~known))


def _micros(stamps: pa.ChunkedArray) -> Array:
    """Microseconds since 1970, int64; nulls are before all others."""
    cast = stamps.cast(_STAMP, safe=False).cast(pa.int64())
    return np.asarray(cast.fill_null(_EARLIEST).to_numpy())
