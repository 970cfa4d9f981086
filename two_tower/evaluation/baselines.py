"""Scorers that need no training: what two towers must beat to be worth serving."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from scipy import sparse

from two_tower.data.catalogue import POPULARITY_WINDOW
from two_tower.data.seen import Interactions
from two_tower.evaluation.ranking import Snapshot, Task
from two_tower.inputs import Array

NEIGHBOURS = 200
BLOCK = 16_000_000  # similarities held at a time: 64 MB


@dataclass(frozen=True)
class Popularity:
    """The same list for everyone, as the service falls back to: items by their interactions in the window before the
    snapshot.

    counts: by snapshot, float32 [items of the snapshot].
    """

    counts: tuple[Array, ...]

    @classmethod
    def fit(cls, task: Task) -> "Popularity":
        counts = []
        for snapshot in task.snapshots:
            since = snapshot.micros - POPULARITY_WINDOW // timedelta(microseconds=1)
            start = np.searchsorted(task.interactions.micros, since, side="right")
            end = np.searchsorted(task.interactions.micros, snapshot.micros)
            events = np.bincount(task.interactions.item[start:end], minlength=len(task.interactions.items))
            counts.append(events[snapshot.items].astype(np.float32))
        return cls(tuple(counts))

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        return np.tile(self.counts[snapshot.number], (len(events), 1))


@dataclass(frozen=True)
class ItemKnn:
    """Items like those that the user has seen (Deshpande & Karypis, 2004, "Item-based top-N recommendation").

    similar: float32 [items, items], sparse; column j holds the items nearest to item j by the cosine of their sets of
    users. The score of an item is the sum over those of its own neighbours that the user has seen.
    """

    interactions: Interactions
    similar: sparse.csr_array

    @classmethod
    def fit(cls, task: Task, before: int) -> "ItemKnn":
        """From the interactions before an instant (microseconds since 1970)."""
        log = task.interactions
        rows = slice(0, int(np.searchsorted(log.micros, before)))
        shape = (len(log.users), len(log.items))
        taken = _ones(log.user[rows], log.item[rows], shape)
        length = np.sqrt(taken.sum(axis=0))
        unit = (taken / np.maximum(length, 1)).tocsc().astype(np.float32)
        size = max(1, BLOCK // shape[1])
        blocks = [_nearest(unit, start, min(start + size, shape[1])) for start in range(0, shape[1], size)]
        return cls(log, sparse.vstack(blocks).T.tocsr())

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Events of one user that follow each other cost only the items that the user has seen in between."""
        user, micros = self.interactions.user[events], self.interactions.micros[events]
        goes_on = np.r_[False, (user[1:] == user[:-1]) & (micros[1:] >= micros[:-1])]
        since = np.where(goes_on, np.r_[0, micros[:-1]], self.interactions.micros[0])
        position, item = self.interactions.seen(events, since)
        new = _ones(position, item, (len(events), len(self.interactions.items)))
        scores = (new @ self.similar).toarray()[:, snapshot.items]
        starts = np.flatnonzero(~goes_on)
        for start, end in zip(starts, np.r_[starts[1:], len(events)], strict=True):
            np.cumsum(scores[start:end], axis=0, out=scores[start:end])
        return scores


def _ones(row: Array, column: Array, shape: tuple[int, int]) -> sparse.csr_array:
    """A float32 matrix of ones at these places, however often each is named."""
    matrix = sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _nearest(unit: sparse.csc_array, start: int, end: int) -> sparse.csr_array:
    """Rows start to end of the similarity; of each, all but the nearest neighbours are left out."""
    cosine = (unit[:, start:end].T @ unit).toarray()
    cosine[np.arange(end - start), np.arange(start, end)] = 0
    if cosine.shape[1] > NEIGHBOURS:
        least = -np.partition(-cosine, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]  # negated: see metrics.top
        cosine[cosine < least[:, None]] = 0
    return sparse.csr_array(cosine)
