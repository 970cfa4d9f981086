"""Interactions as integer codes, and the items that a user had seen at the time of an interaction."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT, Bounds, Pulled
from two_tower.inputs import Array


@dataclass(frozen=True)
class Interactions:
    """Interactions with integer codes for users and items.

    Attributes:
        user: (interactions,) int64, the row of the user in `users`.
        item: (interactions,) int64, the row of the item in `items`.
        micros: (interactions,) int64, microseconds since 1970, ascending.
        users: (users,) user keys.
        items: (items,) item keys, of all items of the interactions and of the catalogue.
        weight: (interactions,) float32. The user has seen an item of weight 0, but it is not a positive.
    """

    user: Array
    item: Array
    micros: Array
    users: pa.Array
    items: pa.Array
    weight: Array

    @classmethod
    def from_pulled(cls, pulled: Pulled) -> "Interactions":
        """Encode the interactions of a pull."""
        user, item = pulled.interactions[pulled.contract.user_key], pulled.interactions[pulled.contract.item_key]
        listed = pulled.catalogue[pulled.contract.item_key].cast(item.type)
        users, items = pc.unique(user), pc.unique(pa.chunked_array([*item.chunks, *listed.chunks], item.type))
        stamps = pulled.interactions[EVENT_TIMESTAMP].cast(pa.timestamp("us", tz="UTC"), safe=False)
        micros = np.asarray(stamps.cast(pa.int64()).to_numpy())
        assert (np.diff(micros) >= 0).all(), "interactions are sorted by time"
        return cls(codes(user, users), codes(item, items), micros, users, items, weights(pulled.interactions))

    @cached_property
    def _first(self) -> tuple[Array, Array]:
        """The row of the first interaction of each (user, item) pair, and the index of each row's pair among these."""
        _, rows, number = np.unique(self.user * len(self.items) + self.item, return_index=True, return_inverse=True)
        return rows, number

    @cached_property
    def repeated(self) -> Array:
        """Whether the user has an earlier interaction with the same item; (interactions,) bool."""
        rows, number = self._first
        return self.micros[rows[number]] < self.micros

    @cached_property
    def is_positive(self) -> Array:
        """Whether it is the first interaction of a user with an item, with a weight above 0; (interactions,) bool."""
        return np.asarray(~self.repeated & (self.weight > 0))

    @cached_property
    def _instants(self) -> Array:
        """The distinct timestamps, ascending. `np.unique` hashes first, which takes 25 times as long."""
        return self.micros[np.diff(self.micros, prepend=np.iinfo(np.int64).min) != 0]

    def _rank(self, user: Array, micros: Array) -> Array:
        """Return a number that orders by user, then time."""
        return user * (len(self._instants) + 1) + np.searchsorted(self._instants, micros)

    @cached_property
    def _by_user(self) -> tuple[Array, Array]:
        """Rank and row of the first interaction of each (user, item) pair, sorted by user, then time."""
        rows, _ = self._first
        rank = self._rank(self.user[rows], self.micros[rows])
        order = np.argsort(rank, kind="stable")
        return rank[order], rows[order]

    def seen(self, events: Array, since: Array | None = None) -> tuple[Array, Array]:
        """Return the items that the user of each event had interacted with at a strictly earlier time.

        Args:
            events: (events,) int64 rows of interactions.
            since: (events,) int64 microseconds since 1970. Items with a first interaction before it are left out. None:
                no limit.

        Returns:
            Pairs of event and item, each pair once: (pairs,) int64 positions in `events`, ascending, and (pairs,) int64
            item codes, of one event in order of time.
        """
        position, place = self._places(events, since)
        return position, self.first_items[place]

    def seen_positives(self, events: Array, since: Array | None = None) -> tuple[Array, Array]:
        """Return what `seen` does, without the items whose first interaction has weight 0."""
        position, place = self._places(events, since)
        kept = self.weight[self._by_user[1][place]] > 0
        return position[kept], self.first_items[place[kept]]

    def _places(self, events: Array, since: Array | None) -> tuple[Array, Array]:
        """Position in `events` and place in `first_items` of each item that `seen` returns."""
        begin, length = self.spans(events, since=since)
        position = np.repeat(np.arange(len(events)), length)
        within = np.arange(len(position)) - np.repeat(np.cumsum(length) - length, length)
        return position, np.repeat(begin, length) + within

    @cached_property
    def first_items(self) -> Array:
        """The item code of the first interaction of each (user, item) pair, sorted by user, then time; (pairs,)."""
        return self.item[self._by_user[1]]

    def spans(self, events: Array, until: Array | None = None, since: Array | None = None) -> tuple[Array, Array]:
        """Return the slice of `first_items` with the items that `seen` returns, for each event.

        Args:
            events: See `seen`.
            until: (events,) int64 microseconds since 1970. Items with a first interaction at or after it are left out.
                None: the time of the event.
            since: See `seen`.

        Returns:
            The begin and the length of each slice, each (events,) int64.
        """
        ranks, _ = self._by_user
        user, micros = self.user[events], self.micros[events] if until is None else until
        begin = np.searchsorted(ranks, self._rank(user, self._instants[:1] if since is None else since))
        return begin, np.maximum(np.searchsorted(ranks, self._rank(user, micros)) - begin, 0)


def known_until(micros: Array, bounds: Bounds) -> Array:
    """Return the time up to which the items of an interaction's user are not negatives of it in training.

    It is the time of the interaction. Without times, all items of a user's training rows are known.

    Args:
        micros: (interactions,) int64, microseconds since 1970.
        bounds: The bounds of the splits.

    Returns:
        (interactions,) int64, microseconds since 1970.
    """
    if bounds.split == "time":
        return micros
    return np.maximum(micros, pa.scalar(bounds.train_end, pa.timestamp("us", tz="UTC")).value)


def weights(interactions: pa.Table) -> Array:
    """Return the weight of each interaction, (interactions,) float32; 1 if it is missing."""
    return np.asarray(interactions[WEIGHT].cast("float32").fill_null(1.0).to_numpy())


def codes(values: pa.ChunkedArray, keys: pa.Array) -> Array:
    """Return the row of each value in `keys`.

    Args:
        values: (values,) values, all contained in `keys`.
        keys: (keys,) distinct keys.

    Returns:
        (values,) int64.
    """
    rows = pc.index_in(values, value_set=keys)
    assert rows.null_count == 0, "all values are in the keys"
    return rows.to_numpy().astype(np.int64)
