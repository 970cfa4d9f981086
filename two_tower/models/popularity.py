"""Popularity: the same list for every user."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

import numpy as np
from scipy import sparse

from two_tower.data.seen import Interactions
from two_tower.inputs import Array


@dataclass(frozen=True, kw_only=True)
class Popularity:
    """Items by their number of interactions of weight above 0, repeats included, in a window of time.

    Attributes:
        days: Length of the window in days; 0 for all interactions.
        counts: Fitted counts, `(items,) float32`.
    """

    days: float = 30.0
    counts: Array | None = None

    def fit(self, log: Interactions, before: int) -> Self:
        """Count the interactions in the window before an instant; see `Model.fit`."""
        end = int(np.searchsorted(log.micros, before))
        since = before - timedelta(days=self.days) // timedelta(microseconds=1)
        start = int(np.searchsorted(log.micros, since, side="right")) if self.days else 0
        item = log.item[start:end][log.weight[start:end] > 0]
        return replace(self, counts=np.bincount(item, minlength=len(log.items)).astype(np.float32))

    def score(self, history: sparse.csr_array) -> Array:
        """Return the counts for each history; see `Model.score`."""
        assert self.counts is not None, "fitted"
        return np.tile(self.counts, (history.shape[0], 1))
