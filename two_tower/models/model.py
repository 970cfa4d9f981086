"""The interface of the models, and the base of those that score items by the user's history."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from scipy import sparse

from two_tower.data.seen import Interactions
from two_tower.inputs import Array

TIE_BREAK = 0.001  # weight of popularity that only orders items without another score


class Model(Protocol):
    """A recommender over the item codes of `Interactions`. Its fields are settings; `fit` returns a fitted copy."""

    def fit(self, log: Interactions, before: int) -> Self:
        """Learn from the positives before an instant.

        Args:
            log: Interactions.
            before: Microseconds since 1970.
        """
        ...

    def score(self, history: sparse.csr_array) -> Array:
        """Score all items for each history; higher is better.

        Args:
            history: `(histories, items) float32`, the weight of each item of the history.

        Returns:
            `(histories, items) float32`, a new array.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class HistoryModel(ABC):
    """Base of the models whose score is linear in the history. Their scores are blended with popularity.

    Attributes:
        decay: Factor by which each later item of the history lowers the weight of an earlier one; 1 for equal weights.
        popularity_weight: Weight of the popularity of an item relative to the largest score of the history. A user
            without a history gets popular items with any weight above 0.
    """

    decay: float = 1.0
    popularity_weight: float = TIE_BREAK

    @abstractmethod
    def fit(self, log: Interactions, before: int) -> Self:
        """See `Model.fit`."""

    @abstractmethod
    def score(self, history: sparse.csr_array) -> Array:
        """See `Model.score`."""

    def blend(self, scores: Array, popularity: Array) -> Array:
        """Add popularity to the scores of a history.

        Args:
            scores: `(histories, items) float32`, overwritten.
            popularity: `(items,) float32` of at least 0.

        Returns:
            `(histories, items) float32`.
        """
        largest = np.abs(scores).max(axis=1, keepdims=True, initial=0.0)
        scores /= np.where(largest > 0, largest, 1)
        scores += self.popularity_weight / max(float(popularity.max(initial=0.0)), 1.0) * popularity
        return scores


def positives(log: Interactions, before: int) -> tuple[Array, Array]:
    """Return the users and items of the positives before an instant, by time, each `(positives,) int64`."""
    rows = np.flatnonzero(log.is_positive[: np.searchsorted(log.micros, before)])
    return log.user[rows], log.item[rows]


def incidence(user: Array, item: Array, shape: tuple[int, int]) -> sparse.csr_array:
    """Sparse float32 matrix `(users, items)` with a one for each pair; a repeated pair counts once."""
    matrix = sparse.csr_array((np.ones(len(user), np.float32), (user, item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
