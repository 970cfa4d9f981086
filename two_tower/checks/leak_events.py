"""The interactions that the leak tests sample."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from feast import FeatureStore

from two_tower.data import sources
from two_tower.data.repository import view
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.schema import INTERACTIONS_VIEW, Contract, Dtype, TowerName


@dataclass(frozen=True)
class Events:
    """Interactions, sorted by time.

    Attributes:
        user: (events,) int64 rows of `users`.
        item: (events,) int64 rows of `items`.
        users: (users,) user keys.
        items: (items,) item keys.
        micros: (events,) int64, microseconds since 1970.
        new: (events,) bool, whether the event is the first of its user with its item.
        facts: Numeric fields of the interactions view, such as a rating, by name: (events,) float64.
    """

    user: Array
    item: Array
    users: pa.Array
    items: pa.Array
    micros: Array
    new: Array
    facts: dict[str, Array]

    def codes(self, tower: TowerName) -> Array:
        """Return the rows of `keys`; (events,) int64."""
        return self.user if tower == "user" else self.item

    def keys(self, tower: TowerName) -> pa.Array:
        """Return the keys of a tower."""
        return self.users if tower == "user" else self.items

    def consecutive(self, tower: TowerName) -> tuple[Array, Array]:
        """Return the events with an earlier event of their key, and the last of the earlier events.

        Returns:
            Two (events with an earlier one,) int64 arrays of events.
        """
        order = np.lexsort((self.micros, self.codes(tower)))
        key, micros = self.codes(tower)[order], self.micros[order]
        first = np.r_[True, (key[1:] != key[:-1]) | (micros[1:] != micros[:-1])]
        previous = np.maximum.accumulate(np.where(first, np.arange(len(key)), 0)) - 1
        continued = np.flatnonzero((previous >= 0) & (key[previous] == key))
        return order[continued], order[previous[continued]]

    def idle(self, tower: TowerName, keys: Array, shift: int, rng: np.random.Generator) -> Array:
        """Draw a time of any event for each key at which the key itself has no event within two shifts.

        Args:
            tower: The tower of the keys.
            keys: (rows,) int64 rows of `keys`.
            shift: Microseconds.
            rng: The generator of the times.

        Returns:
            (rows, 2) int64: keys and times. Rows whose key has an event near the drawn time are left out.
        """
        order = np.lexsort((self.micros, self.codes(tower)))
        sorted_keys, micros = self.codes(tower)[order], self.micros[order]
        starts, ends = (np.searchsorted(sorted_keys, keys, side=side) for side in ("left", "right"))
        times = rng.choice(self.micros, len(keys))
        alone = []
        for start, end, time in zip(starts, ends, times, strict=True):
            near = np.searchsorted(micros[start:end], [time - 2 * shift, time + 2 * shift + 1])
            alone.append(bool(near[0] == near[1]))
        return np.column_stack([keys, times])[np.array(alone, dtype=bool)]


def read(store: FeatureStore, schema: Contract, as_of: datetime | None) -> Events:
    """Read the interactions of a feature store.

    Args:
        store: The feature store.
        schema: The feature contract.
        as_of: Later interactions are left out. None: all interactions.

    Returns:
        The interactions.

    Raises:
        InputError: If there are none.
    """
    source = view(store, INTERACTIONS_VIEW, "the leak tests read its rows")
    keys = [schema.user_key, schema.item_key]
    names = [f.name for f in source.features if f.name not in keys]
    table = sources.read(store, source, [*keys, *names], until=as_of)
    stamp = source.batch_source.timestamp_field
    micros = sources.cast(table[stamp], stamp, Dtype.TIMESTAMP).cast(pa.int64()).to_numpy()
    order = np.argsort(micros, kind="stable")
    if not len(order):
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has no rows. The leak tests need events: check its source."
        )
    user, item = (table[k].combine_chunks().dictionary_encode() for k in keys)
    users, items = (np.asarray(c.indices).astype(np.int64)[order] for c in (user, item))
    new = np.zeros(len(order), dtype=bool)
    new[np.unique(users * (len(item.dictionary) + 1) + items, return_index=True)[1]] = True
    facts = {n: _numbers(table[n])[order] for n in names if _is_number(table[n].type)}
    return Events(users, items, user.dictionary, item.dictionary, micros[order], new, facts)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _numbers(column: pa.ChunkedArray) -> Array:
    """Return numbers, where missing ones have the mean of the others."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    numbers = column.to_numpy().astype(np.float64)
    known = np.isfinite(numbers)
    return np.where(known, numbers, numbers[known].mean() if known.any() else 0.0)
