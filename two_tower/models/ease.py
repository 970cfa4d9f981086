"""EASE: a ridge regression of each item on all other items, in closed form."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from two_tower.data.seen import Interactions
from two_tower.inputs import Array
from two_tower.models.model import HistoryModel, incidence, positives

BLOCK = 500  # rows of the matrix that are filled or copied at a time


@dataclass(frozen=True, kw_only=True)
class Ease(HistoryModel):
    """An item's score is a linear function of the history, with a weight of 0 for the item itself.

    Attributes:
        ridge: Regularisation, in units of the mean number of users of an item.
        most: Number of items, the most popular first, that have weights. One matrix of float32 is in memory:
            1.6 GB for 20,000 items. Other items have no score.
        items: Codes of these items, `(n,) int64`.
        weights: Fitted weights, `(n, n) float32`: row i, column j has the weight of item i in the score of item j.

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
    """

    ridge: float = 3.0
    most: int = 20_000
    items: Array | None = None
    weights: Array | None = None

    def fit(self, log: Interactions, before: int) -> Self:
        """Solve the regression in place; see `Model.fit`."""
        user, item = positives(log, before)
        by_item = np.bincount(item, minlength=len(log.items))
        items = np.argsort(-by_item, kind="stable")[: min(self.most, np.count_nonzero(by_item))]
        if not len(items):
            return replace(self, items=items, weights=np.zeros((0, 0), np.float32))
        matrix = sparse.csc_array(incidence(user, item, (len(log.users), len(log.items)))[:, items])
        weights = np.empty((len(items), len(items)), np.float32)
        for start in range(0, len(items), BLOCK):
            weights[start : start + BLOCK] = (matrix[:, start : start + BLOCK].T @ matrix).toarray()
        np.fill_diagonal(weights, weights.diagonal() + self.ridge * float(by_item[items].mean()))
        _invert(weights)
        weights *= -1 / weights.diagonal()
        np.fill_diagonal(weights, 0)
        return replace(self, items=items, weights=weights)

    def score(self, history: sparse.csr_array) -> Array:
        """Apply the weights to each history; see `Model.score`."""
        assert self.items is not None and self.weights is not None, "fitted"
        scores = sparse.csr_array(history[:, self.items]) @ self.weights
        place = np.full(history.shape[1], len(self.items))
        place[self.items] = np.arange(len(self.items))
        return np.take(np.pad(scores, ((0, 0), (0, 1))), place, axis=1)


def _invert(matrix: Array) -> None:
    """Replace a positive definite matrix, `(n, n) float32`, by its inverse, without a second matrix in memory."""
    # The transpose of an array in C order is in the order that LAPACK overwrites.
    factor, failed = lapack.spotrf(matrix.T, lower=True, overwrite_a=True, clean=False)
    assert failed == 0 and np.shares_memory(factor, matrix), "positive definite"
    inverse, failed = lapack.spotri(factor, lower=True, overwrite_c=True)
    assert failed == 0 and np.shares_memory(inverse, matrix)
    for start in range(0, len(matrix), BLOCK):  # LAPACK fills one triangle
        end = start + BLOCK
        block = matrix[start:end, start:end]
        block[:] = np.triu(block) + np.triu(block, 1).T
        matrix[end:, start:end] = matrix[start:end, end:].T
