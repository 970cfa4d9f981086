"""The items of a release: ids, features and popularity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.inputs import Array
from two_tower.recommender.filters import Columns, Filter
from two_tower.releases.manifest import File
from two_tower.schema import POPULARITY, Contract

MASKS = 64  # number of filters whose masks are cached
_BLOCK = 4096  # rows that `popular` reads at a time


class Catalogue:
    """The items of a release, in the order of the index.

    Attributes:
        ids: item ids.
        row_of: maps an id to its row.
        table: items.parquet, one row per item.
        by_popularity: rows, most popular first, (items,) int64.

    Args:
        folder: folder of a release.
        contract: feature contract of the release.
    """

    def __init__(self, folder: Path, contract: Contract) -> None:
        self._contract = contract
        self.table = pq.read_table(folder / File.ITEMS)
        self.ids: list[Any] = self.table[contract.item_key].to_pylist()
        self.row_of: dict[Any, int] = {item: row for row, item in enumerate(self.ids)}
        self._popularity: Array = self.table[POPULARITY].fill_null(0).to_numpy()
        self.by_popularity = np.argsort(-self._popularity, kind="stable")
        self._columns = Columns(self.table)
        self._masks: dict[Filter, Array] = {}

    def features(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Raw feature values of a few rows."""
        names = [f.name for f in self._contract.item]
        return list(self.table.select(names).take(pa.array(rows, pa.int64())).to_pylist())

    def has_mask(self, filters: Filter) -> bool:
        """Whether the mask of these filters is cached."""
        return filters in self._masks

    def mask(self, filters: Filter) -> Array:
        """Mask of the items that pass the filters, (items,) bool. The masks of recent filters are cached."""
        mask = self._masks.get(filters)
        if mask is None:
            mask = self._columns.mask(filters)
            if len(self._masks) >= MASKS:
                self._masks.pop(next(iter(self._masks)), None)
            self._masks[filters] = mask
        return mask

    def popular(self, k: int, hidden: set[int], allowed: Array | None) -> list[tuple[Any, float]]:
        """Return the k most popular items as pairs of id and popularity.

        Args:
            k: number of items.
            hidden: rows to leave out.
            allowed: mask of the items to choose from, (items,) bool; None allows all.
        """
        rows: list[int] = []
        for start in range(0, len(self.ids), _BLOCK):
            block = self.by_popularity[start : start + _BLOCK]
            rows += [row for row in (block if allowed is None else block[allowed[block]]).tolist() if row not in hidden]
            if len(rows) >= k:
                break
        return [(self.ids[row], float(self._popularity[row])) for row in rows[:k]]
