"""Baseline scorers that need no training. Two towers are worth serving if they are better than these."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import numpy as np
from scipy import sparse

from two_tower.data.catalogue import POPULARITY_WINDOW
from two_tower.data.seen import Interactions
from two_tower.evaluation.ranking import Snapshot, Task
from two_tower.inputs import Array

NEIGHBOURS = 200
SHRINKAGE = 10.0  # users; a similarity that rests on few users counts less
BLOCK = 16_000_000  # pairs of interactions of the same user that are counted at a time


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

    The similarity of two items is the cosine of their sets of users, with a constant added to the product of the norms,
    so that two items with one common user are not the nearest. Only the nearest neighbours of an item count. Only items
    with a common user have a similarity, and only these are stored.

    Attributes:
        interactions: Interactions of the task.
        similar: Sparse similarities, `(items, items) float32`; column j holds the neighbours of item j.

    Source:
        Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004. The constant: Ferrari
        Dacrema, Cremonesi and Jannach, "Are we really making much progress?", RecSys 2019.
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
        matrix = _ones(log.user[rows], log.item[rows], shape).tocsc()
        pairs = np.cumsum(matrix.T @ matrix.sum(axis=1))  # pairs of interactions of the same user, by item
        bounds = np.searchsorted(pairs, np.arange(BLOCK, pairs[-1] + BLOCK, BLOCK), side="left") + 1
        edges = np.unique(np.r_[0, np.minimum(bounds, shape[1]), shape[1]])
        blocks = [_nearest(matrix, start, end) for start, end in pairwise(edges)]
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


def _nearest(matrix: sparse.csc_array, start: int, end: int) -> sparse.csr_array:
    """Rows start to end of the similarity matrix, with the nearest neighbours of each row only."""
    common = (matrix[:, start:end].T @ matrix).tocoo()
    row, column = common.coords
    length = np.sqrt(matrix.sum(axis=0))
    similarity = np.where(column == row + start, 0, common.data / (length[start + row] * length[column] + SHRINKAGE))
    order = np.lexsort((-similarity, row))
    ordered = similarity[order]
    begin = np.searchsorted(row[order], np.arange(end - start + 1))
    last = np.minimum(begin[:-1] + NEIGHBOURS, begin[1:]) - 1
    least = np.where(begin[1:] > begin[:-1], ordered[np.minimum(last, len(ordered) - 1)], 0.0) if len(ordered) else last
    kept = (similarity >= least[row]) & (similarity > 0)
    shape = (end - start, matrix.shape[1])
    return sparse.csr_array((similarity[kept].astype(np.float32), (row[kept], column[kept])), shape=shape)
