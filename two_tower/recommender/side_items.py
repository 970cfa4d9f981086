"""The items of a side index at one moment."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from two_tower.inputs import Array
from two_tower.recommender.filters import Columns


@dataclass(frozen=True)
class SideItems:
    """Side items at one moment.

    Attributes:
        ids: item ids.
        row_of: maps an id to its place in `ids`.
        embeddings: (items, dim) float32.
        columns: features of the items, for filters.
        replaced: index rows that must not be returned: those of changed and of removed items.
        removed: index rows of removed items.
        updated: time of the newest upsert, seconds since 1970.
    """

    ids: list[Any] = field(default_factory=list)
    row_of: Mapping[Any, int] = field(default_factory=dict)
    embeddings: Array = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    columns: Columns = field(default_factory=lambda: Columns(pa.table({})))
    replaced: list[int] = field(default_factory=list)
    removed: frozenset[int] = frozenset()
    updated: float = 0.0

    @property
    def new(self) -> int:
        """Number of items added to those of the release; negative if more are removed."""
        return len(self.ids) - len(self.replaced)


NO_ITEMS = SideItems()


def age(side: SideItems) -> float:
    """Seconds since the newest upsert; 0 if there are no side items."""
    return max(time.time() - side.updated, 0.0) if side.ids else 0.0
