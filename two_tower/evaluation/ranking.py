"""Ranking of the test events, each against the catalogue that was served at its time.

One loop ranks with every scorer, so the towers and the baselines have the same candidates and the same masks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from two_tower.data.pulled import Pulled, Split
from two_tower.data.seen import Interactions, codes
from two_tower.errors import InputError
from two_tower.evaluation import metrics
from two_tower.inputs import Array

BLOCK = 16_000_000  # scores in memory: 64 MB
COVERAGE_AT = 20


@dataclass(frozen=True)
class Snapshot:
    """The catalogue at one refresh of the index.

    Attributes:
        number: Position in `Task.snapshots`.
        micros: Time of the refresh in microseconds since 1970.
        items: Item codes in the row order of `table`, `(items,) int64`.
        table: Item keys, and item features as of the refresh.
    """

    number: int
    micros: int
    items: Array
    table: pa.Table


@dataclass(frozen=True)
class Task:
    """The events to rank and the catalogues to rank them against.

    Attributes:
        interactions: All interactions.
        snapshots: Catalogues that served a test event, in ascending order of time.
        events: Rows of the interactions, `(events,) int64`, ascending.
        snapshot: Number of the snapshot that served each event, `(events,) int64`.
        left_out: Number of test events of weight 0, or on an item that the user had already seen, which no list would
            contain.
    """

    interactions: Interactions
    snapshots: tuple[Snapshot, ...]
    events: Array
    snapshot: Array
    left_out: int

    @classmethod
    def of(cls, pulled: Pulled) -> "Task":
        """Make the task of the test events.

        Args:
            pulled: Pulled tables.

        Returns:
            The task.

        Raises:
            InputError: The test window has no event of weight above 0 on an item that is new to its user.
        """
        interactions = Interactions.from_pulled(pulled)
        rows = pulled.rows(Split.TEST)
        events = rows[interactions.is_positive[rows]]
        if not len(events):
            raise InputError(
                f"there is no test event to rank: the test window has {len(rows)} interactions, each of "
                "weight 0 or on an item that its user had seen before. Use interactions with items that are new to "
                "their users: a longer test window, or a lower train_fraction."
            )
        instants = sorted(set(pulled.bounds.snapshots))
        micros = np.array([to_micros(at) for at in instants])
        newest = np.searchsorted(micros, interactions.micros[events], side="right") - 1
        assert newest.min() >= 0, "a snapshot precedes every test event"
        used, number = np.unique(newest, return_inverse=True)
        snapshots = []
        for place, index in enumerate(used):
            table = pulled.catalogue_at(instants[index])
            key = table[pulled.contract.item_key].cast(interactions.items.type)
            snapshots.append(Snapshot(place, int(micros[index]), codes(key, interactions.items), table))
        return cls(interactions, tuple(snapshots), events, number, len(rows) - len(events))

    @classmethod
    def validation(cls, pulled: Pulled, interactions: Interactions, most: int) -> "Task | None":
        """Make the task of at most `most` validation events, chosen at random, against the catalogue at their start.

        Args:
            pulled: Pulled tables.
            interactions: Interactions of the pull.
            most: Greatest number of events.

        Returns:
            The task; None if no event has weight above 0 on an item that is new to its user.
        """
        rows = pulled.rows(Split.VALIDATION)
        events = rows[interactions.is_positive[rows]]
        if not len(events):
            return None
        if len(events) > most:
            events = np.sort(np.random.default_rng(0).choice(events, most, replace=False))
        start = pulled.bounds.train_end
        table = pulled.catalogue_at(start)
        items = codes(table[pulled.contract.item_key].cast(interactions.items.type), interactions.items)
        snapshot = Snapshot(0, to_micros(start), items, table)
        return cls(interactions, (snapshot,), events, np.zeros(len(events), np.int64), len(rows) - len(events))

    @property
    def user(self) -> Array:
        """User code of each event, `(events,) int64`."""
        return self.interactions.user[self.events]

    @property
    def item(self) -> Array:
        """Item code of each event, `(events,) int64`."""
        return self.interactions.item[self.events]


class Scorer(Protocol):
    """A model that the evaluation can rank with: the towers, a baseline, the oracle."""

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Score each item of a snapshot for each event; higher is better.

        Args:
            events: Rows of the interactions, `(events,) int64`, all served by `snapshot`.
            snapshot: Catalogue with the items.

        Returns:
            `(events, items) float32`, a new array that the caller can modify.
        """
        ...


@dataclass(frozen=True)
class Ranking:
    """Result of ranking the events of a task.

    Attributes:
        rank: Rank of each event's item, `(events,) float64`, infinite for a miss.
        shown: Number of users whose top 20 contains the item, at the last event of each user, `(all items,) int64`.
        catalogue: Codes of the items in any snapshot, ascending, `(items,) int64`.
    """

    rank: Array
    shown: Array
    catalogue: Array

    @property
    def coverage(self) -> float:
        """Share of the catalogue that is in the top 20 of at least one user."""
        return float(np.count_nonzero(self.shown) / len(self.catalogue))


def to_micros(at: object) -> int:
    """Convert a datetime to microseconds since 1970."""
    return int(pa.scalar(at, pa.timestamp("us", tz="UTC")).value)


def rank(task: Task, scorer: Scorer) -> Ranking:
    """Rank each event's item among the items of its snapshot that the user had not seen, in blocks.

    Args:
        task: Events and catalogues.
        scorer: Model to rank with.

    Returns:
        Ranks of the events, and how often each item is in a top 20.
    """
    places = np.full(len(task.events), np.inf)
    last = _last_of_user(task.user)
    shown = np.zeros(len(task.interactions.items), dtype=np.int64)
    for snapshot, block in _blocks(task):
        column = np.full(len(shown), -1)
        column[snapshot.items] = np.arange(len(snapshot.items))
        events = task.events[block]
        scores = scorer.scores(events, snapshot)
        assert scores.shape == (len(events), len(snapshot.items)) and scores.dtype == np.float32
        position, seen = task.interactions.seen(events)
        offered = column[seen] >= 0
        scores[position[offered], column[seen[offered]]] = -np.inf
        places[block] = metrics.ranks(scores, column[task.interactions.item[events]])
        listed = snapshot.items[metrics.top(scores[last[block]], COVERAGE_AT)]
        shown += np.bincount(listed, minlength=len(shown))
    return Ranking(places, shown, np.unique(np.concatenate([s.items for s in task.snapshots])))


def _last_of_user(user: Array) -> Array:
    """Flags of the last event of each user, `(events,) bool`."""
    last = np.zeros(len(user), dtype=bool)
    last[len(user) - 1 - np.unique(user[::-1], return_index=True)[1]] = True
    return last


def _blocks(task: Task) -> Iterator[tuple[Snapshot, Array]]:
    """Positions in `task.events` in blocks of limited size: one snapshot per block, each user's events in sequence."""
    for snapshot in task.snapshots:
        positions = np.flatnonzero(task.snapshot == snapshot.number)
        positions = positions[np.argsort(task.user[positions], kind="stable")]
        size = max(1, BLOCK // max(1, len(snapshot.items)))
        for start in range(0, len(positions), size):
            yield snapshot, positions[start : start + size]
