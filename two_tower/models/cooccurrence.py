"""Co-occurrence of items that users interacted with shortly after each other."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import sparse

from two_tower.data.seen import Interactions
from two_tower.inputs import Array
from two_tower.models.model import HistoryModel, positives

PAIRS = 50_000_000  # memory holds this many pairs of neighbours in the histories


@dataclass(frozen=True, kw_only=True)
class Cooccurrence(HistoryModel):
    """An item's score is how often it is near the items of the history in the histories of all users.

    Two items of one history that are n places apart count 1 / n.

    Attributes:
        reach: Greatest distance in places.
        popularity_power: An item's counts are divided by its number of positives to this power.
        counts: Fitted counts, `(items, items) float32`, symmetric but for the division.

    Source: Rendle, Freudenthaler and Schmidt-Thieme, "Factorizing personalized Markov chains for next-basket
    recommendation", WWW 2010, for the unfactorised chain, with a longer reach.
    """

    decay: float = 0.9
    reach: int = 5
    popularity_power: float = 0.5
    counts: sparse.csr_array | None = None

    def fit(self, log: Interactions, before: int) -> Self:
        """Count the pairs; see `Model.fit`. Of a log with too many pairs, the reach is shorter."""
        user, item = positives(log, before)
        order = np.argsort(user, kind="stable")
        user, item = user[order], item[order]
        items = len(log.items)
        counts = sparse.csr_array((items, items), dtype=np.float32)
        for distance in range(1, min(self.reach, max(1, PAIRS // max(1, len(item)))) + 1):
            same = user[distance:] == user[:-distance]
            pair = (item[:-distance][same], item[distance:][same])
            counts = counts + sparse.csr_array((np.full(len(pair[0]), 1 / distance, np.float32), pair), counts.shape)
        by_item = np.maximum(np.bincount(item, minlength=items), 1).astype(np.float32)
        return replace(self, counts=sparse.csr_array((counts + counts.T) * by_item**-self.popularity_power))

    def score(self, history: sparse.csr_array) -> Array:
        """Sum the counts with the items of each history; see `Model.score`."""
        assert self.counts is not None, "fitted"
        return (history @ self.counts).toarray()
