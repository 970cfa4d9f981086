"""The test events, each ranked against the catalogue that would have been served at its time.

One loop ranks for every scorer, so that the towers and the baselines answer the same question under the same masks.
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

BLOCK = 16_000_000  # scores held at a time: 64 MB
COVERAGE_AT = 20


@dataclass(frozen=True)
class Snapshot:
    """The catalogue at one refresh of the index.

    number: its place in `Task.snapshots`. micros: microseconds since 1970. items: codes, int64 [items], row order of
    `table`, which holds the item key and the item features as of the snapshot.
    """

    number: int
    micros: int
    items: Array
    table: pa.Table


@dataclass(frozen=True)
class Task:
    """Which events are ranked, and against what.

    events: rows of the interactions, int64 [events], ascending; snapshot: number of the snapshot that serves each.
    left_out: test events on an item that the user had seen already: no list would have offered it.
    """

    interactions: Interactions
    snapshots: tuple[Snapshot, ...]
    events: Array
    snapshot: Array
    left_out: int

    @classmethod
    def of(cls, pulled: Pulled) -> "Task":
        """The test events of the pulled tables. Raises InputError where none is left to rank."""
        interactions = Interactions.from_pulled(pulled)
        rows = pulled.rows(Split.TEST)
        events = rows[~interactions.repeated[rows]]
        if not len(events):
            raise InputError(
                f"no test event is left to rank: the test window has {len(rows)} interactions, all on items that their "
                "users had seen before. Pull a longer window, or lower train_fraction."
            )
        instants = sorted(set(pulled.bounds.snapshots))
        micros = np.array([to_micros(at) for at in instants])
        newest = np.searchsorted(micros, interactions.micros[events], side="right") - 1
        assert newest.min() >= 0, "a snapshot precedes every test event"
        used, number = np.unique(newest, return_inverse=True)
        snapshots = []
        for place, old in enumerate(used):
            table = pulled.catalogue_at(instants[old])
            key = table[pulled.contract.item_key].cast(interactions.items.type)
            snapshots.append(Snapshot(place, int(micros[old]), codes(key, interactions.items), table))
        return cls(interactions, tuple(snapshots), events, number, len(rows) - len(events))

    @property
    def user(self) -> Array:
        """User code of each event, [events]."""
        return self.interactions.user[self.events]

    @property
    def item(self) -> Array:
        """Item code of each event, [events]."""
        return self.interactions.item[self.events]


class Scorer(Protocol):
    """What can be ranked: the towers, a baseline, the oracle."""

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """How well each item of the snapshot fits each event; higher is better.

        events: rows of the interactions, [events]; all of them are served by `snapshot`.
        Returns float32 [events, items], a fresh array that the caller may write to.
        """
        ...


@dataclass(frozen=True)
class Ranking:
    """rank: place of each event's item, float64 [events], infinite for a miss.

    shown: in how many users' first 20 each item is, at the last event of each user, int64 [all items]. offered: codes
    of the items of any snapshot, ascending.
    """

    rank: Array
    shown: Array
    offered: Array

    @property
    def coverage(self) -> float:
        """Share of the items on offer that somebody is shown."""
        return float(np.count_nonzero(self.shown) / len(self.offered))


def to_micros(at: object) -> int:
    return int(pa.scalar(at, pa.timestamp("us", tz="UTC")).value)


def rank(task: Task, scorer: Scorer) -> Ranking:
    """Every event ranked among its snapshot's items, less those that its user had seen, block by block."""
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
        there = column[seen] >= 0
        scores[position[there], column[seen[there]]] = -np.inf
        places[block] = metrics.ranks(scores, column[task.interactions.item[events]])
        listed = snapshot.items[metrics.top(scores[last[block]], COVERAGE_AT)]
        shown += np.bincount(listed, minlength=len(shown))
    return Ranking(places, shown, np.unique(np.concatenate([s.items for s in task.snapshots])))


def _last_of_user(user: Array) -> Array:
    """Whether no later event is of the same user, bool [events]."""
    last = np.zeros(len(user), dtype=bool)
    last[len(user) - 1 - np.unique(user[::-1], return_index=True)[1]] = True
    return last


def _blocks(task: Task) -> Iterator[tuple[Snapshot, Array]]:
    """Positions in `task.events`, of one snapshot each, a user's events together, as many as memory allows."""
    for snapshot in task.snapshots:
        mine = np.flatnonzero(task.snapshot == snapshot.number)
        mine = mine[np.argsort(task.user[mine], kind="stable")]
        size = max(1, BLOCK // max(1, len(snapshot.items)))
        for start in range(0, len(mine), size):
            yield snapshot, mine[start : start + size]
