"""Baseline scorers that need no training. Two towers are worth serving if they are better than these."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from scipy import sparse

from two_tower.data.catalogue import POPULARITY_WINDOW
from two_tower.data.seen import Interactions
from two_tower.evaluation.ranking import Snapshot, Task
from two_tower.inputs import Array

NEIGHBOURS = 200
BLOCK = 16_000_000  # similarities in memory: 64 MB


@dataclass(frozen=True)
class Popularity:
    """Items by their number of interactions in the window before the snapshot: the same list for every user.

    The service falls back to this list.

    Attributes:
        counts: One array per snapshot, `(items of the snapshot,) float32`.
    """

    counts: tuple[Array, ...]

    @classmethod
    def fit(cls, task: Task) -> "Popularity":
        """Count the interactions before each snapshot of the task."""
        counts = []
        for snapshot in task.snapshots:
            since = snapshot.micros - POPULARITY_WINDOW // timedelta(microseconds=1)
            start = np.searchsorted(task.interactions.micros, since, side="right")
            end = np.searchsorted(task.interactions.micros, snapshot.micros)
            events = np.bincount(task.interactions.item[start:end], minlength=len(task.interactions.items))
            counts.append(events[snapshot.items].astype(np.float32))
        return cls(tuple(counts))

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Score the items of a snapshot; see `Scorer.scores`."""
        return np.tile(self.counts[snapshot.number], (len(events), 1))


@dataclass(frozen=True)
class ItemKnn:
    """Item-based nearest neighbours: an item's score is the sum of its similarities to the items the user has seen.

    The similarity of two items is the cosine of their sets of users. Only the nearest neighbours of an item count.

    Attributes:
        interactions: Interactions of the task.
        similar: Sparse similarities, `(items, items) float32`; column j holds the neighbours of item j.

    Source:
        Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004.
    """

    interactions: Interactions
    similar: sparse.csr_array

    @classmethod
    def fit(cls, task: Task, before: int) -> "ItemKnn":
        """Compute the similarities from the interactions before an instant.

        Args:
            task: Task with the interactions.
            before: Microseconds since 1970.
        """
        log = task.interactions
        rows = slice(0, int(np.searchsorted(log.micros, before)))
        shape = (len(log.users), len(log.items))
        matrix = _ones(log.user[rows], log.item[rows], shape)
        length = np.sqrt(matrix.sum(axis=0))
        unit = (matrix / np.maximum(length, 1)).tocsc().astype(np.float32)
        size = max(1, BLOCK // shape[1])
        blocks = [_nearest(unit, start, min(start + size, shape[1])) for start in range(0, shape[1], size)]
        return cls(log, sparse.vstack(blocks).T.tocsr())

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Score the items of a snapshot; see `Scorer.scores`.

        Consecutive events of a user cost only the items that the user has seen in between.
        """
        user, micros = self.interactions.user[events], self.interactions.micros[events]
        continued = np.r_[False, (user[1:] == user[:-1]) & (micros[1:] >= micros[:-1])]
        since = np.where(continued, np.r_[0, micros[:-1]], self.interactions.micros[0])
        position, item = self.interactions.seen(events, since)
        new = _ones(position, item, (len(events), len(self.interactions.items)))
        scores = (new @ self.similar).toarray()[:, snapshot.items]
        starts = np.flatnonzero(~continued)
        for start, end in zip(starts, np.r_[starts[1:], len(events)], strict=True):
            np.cumsum(scores[start:end], axis=0, out=scores[start:end])
        return scores


def _ones(row: Array, column: Array, shape: tuple[int, int]) -> sparse.csr_array:
    """Sparse float32 matrix with a one at each position; a repeated position counts once."""
    matrix = sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _nearest(unit: sparse.csc_array, start: int, end: int) -> sparse.csr_array:
    """Rows start to end of the similarity matrix, with the nearest neighbours of each row only."""
    cosine = (unit[:, start:end].T @ unit).toarray()
    cosine[np.arange(end - start), np.arange(start, end)] = 0
    if cosine.shape[1] > NEIGHBOURS:
        least = -np.partition(-cosine, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]  # negated: see metrics.top
        cosine[cosine < least[:, None]] = 0
    return sparse.csr_array(cosine)
