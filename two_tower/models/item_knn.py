"""Item-based nearest neighbours."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from scipy import sparse

from two_tower.data.seen import Interactions
from two_tower.inputs import Array
from two_tower.models.model import HistoryModel, incidence, positives

BLOCK = 16_000_000  # pairs of interactions of the same user that are counted at a time


@dataclass(frozen=True, kw_only=True)
class ItemKnn(HistoryModel):
    """An item's score is the sum of its similarities to the items of the history.

    The similarity of two items is the cosine of their sets of users, with a constant added to the product of the norms,
    so that two items with one common user are not the nearest. Only items with a common user have a similarity, and
    only those to an item's nearest neighbours are stored.

    Attributes:
        neighbours: Number of neighbours of each scored item.
        shrinkage: The constant, in users.
        user_power: A user with n items counts n ** -user_power in the similarities. 0: all users count equally.
        similar: Fitted similarities, `(items, items) float32`; column j holds the neighbours of item j.

    Source:
        Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 2004. The constant: Ferrari
        Dacrema, Cremonesi and Jannach, "Are we really making much progress?", RecSys 2019.
    """

    neighbours: int = 200
    shrinkage: float = 10.0
    user_power: float = 0.0
    similar: sparse.csr_array | None = None

    def fit(self, log: Interactions, before: int) -> Self:
        """Compute the similarities; see `Model.fit`. Memory holds BLOCK pairs and the result."""
        user, item = positives(log, before)
        matrix = incidence(user, item, (len(log.users), len(log.items)))
        items_of_user = matrix.sum(axis=1)
        trust = np.maximum(items_of_user, 1) ** -self.user_power
        scale = float((trust * items_of_user).sum() / max(1.0, items_of_user.sum()))  # mean over the interactions
        weighted = matrix * np.sqrt(trust / max(scale, 1e-12))[:, None].astype(np.float32)
        weighted = sparse.csc_array(weighted)
        pairs = np.cumsum(matrix.T @ items_of_user)
        last = pairs[-1] if len(pairs) else 0
        bounds = np.searchsorted(pairs, np.arange(BLOCK, last + BLOCK, BLOCK), side="left") + 1
        edges = np.unique(np.r_[0, np.minimum(bounds, len(pairs)), len(pairs)])
        blocks = [self._nearest(weighted, start, end) for start, end in pairwise(edges)]
        return replace(self, similar=sparse.vstack(blocks).T.tocsr())

    def score(self, history: sparse.csr_array) -> Array:
        """Sum the similarities to the items of each history; see `Model.score`."""
        assert self.similar is not None, "fitted"
        return (history @ self.similar).toarray()

    def _nearest(self, matrix: sparse.csc_array, start: int, end: int) -> sparse.csr_array:
        """Rows start to end of the similarities, each with its nearest neighbours only."""
        common = sparse.csr_array(matrix[:, start:end].T @ matrix)
        length = np.sqrt(matrix.multiply(matrix).sum(axis=0))
        row = np.repeat(np.arange(end - start), np.diff(common.indptr))
        norm = length[start + row] * length[common.indices] + self.shrinkage
        common.data = np.where(common.indices == row + start, 0, common.data / norm).astype(np.float32)
        for first, stop in pairwise(common.indptr):
            if stop - first > self.neighbours:
                values = common.data[first:stop]
                values[values < np.partition(values, -self.neighbours)[-self.neighbours]] = 0
        common.eliminate_zeros()
        return common
