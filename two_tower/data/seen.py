"""Interactions as whole numbers, and what a user had seen as of an event."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP, Pulled
from two_tower.inputs import Array


@dataclass(frozen=True)
class Interactions:
    """Who took what and when, users and items as codes.

    user, item: codes, int64 [interactions]; a code is a row of `users` or `items`, the keys. `items` holds every item
    of the interactions and of the catalogues.
    micros: microseconds since 1970, int64 [interactions], ascending.
    """

    user: Array
    item: Array
    micros: Array
    users: pa.Array
    items: pa.Array

    @classmethod
    def of(cls, pulled: Pulled) -> "Interactions":
        user, item = pulled.interactions[pulled.contract.user_key], pulled.interactions[pulled.contract.item_key]
        listed = pulled.catalogue[pulled.contract.item_key].cast(item.type)
        users, items = pc.unique(user), pc.unique(pa.chunked_array([*item.chunks, *listed.chunks], item.type))
        stamps = pulled.interactions[EVENT_TIMESTAMP].cast(pa.timestamp("us", tz="UTC"), safe=False)
        micros = np.asarray(stamps.cast(pa.int64()).to_numpy())
        assert (np.diff(micros) >= 0).all(), "interactions ascend in time"
        return cls(codes(user, users), codes(item, items), micros, users, items)

    @cached_property
    def _first(self) -> tuple[Array, Array]:
        """Rows of the first interactions of each pair of user and item, and the place therein of each row's pair."""
        _, rows, number = np.unique(self.user * len(self.items) + self.item, return_index=True, return_inverse=True)
        return rows, number

    @cached_property
    def repeated(self) -> Array:
        """Whether the user took the same item at a strictly earlier time, bool [interactions]."""
        rows, number = self._first
        return self.micros[rows[number]] < self.micros

    @cached_property
    def _instants(self) -> Array:
        return np.unique(self.micros)

    def _place(self, user: Array, micros: Array) -> Array:
        """One number that orders by user, then time."""
        return user * (len(self._instants) + 1) + np.searchsorted(self._instants, micros)

    @cached_property
    def _by_user(self) -> tuple[Array, Array]:
        """Places and item codes of the first interactions of each pair, ascending by user, then time."""
        rows, _ = self._first
        place = self._place(self.user[rows], self.micros[rows])
        order = np.argsort(place, kind="stable")
        return place[order], self.item[rows[order]]

    def seen(self, events: Array, since: Array | None = None) -> tuple[Array, Array]:
        """The items that the users of `events` (rows, [events]) had taken at a strictly earlier time than the event.

        since: microseconds, [events]; leaves out the items that the user had taken before that already.
        Returns pairs (position in `events`, item code), each [pairs], ascending by position, each pair once.
        """
        begin, length = self.spans(events, since)
        position = np.repeat(np.arange(len(events)), length)
        within = np.arange(len(position)) - np.repeat(np.cumsum(length) - length, length)
        return position, self.taken[np.repeat(begin, length) + within]

    @property
    def taken(self) -> Array:
        """The item codes of the first interactions of each pair of user and item, by user, then time."""
        return self._by_user[1]

    def spans(self, events: Array, since: Array | None = None) -> tuple[Array, Array]:
        """Where in `taken` that which `seen` gives lies: the beginning and the length for each event, [events]."""
        places, _ = self._by_user
        user, micros = self.user[events], self.micros[events]
        begin = np.searchsorted(places, self._place(user, self._instants[:1] if since is None else since))
        return begin, np.maximum(np.searchsorted(places, self._place(user, micros)) - begin, 0)


def codes(values: pa.ChunkedArray, keys: pa.Array) -> Array:
    """The row of each value in `keys`, int64 [values]."""
    found = pc.index_in(values, value_set=keys)
    assert found.null_count == 0, "every value is among the keys"
    return found.to_numpy().astype(np.int64)
