"""The items of a release: their ids, what is known of them, and how popular they are."""

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

MASKS = 64  # filters whose masks are kept
_BLOCK = 4096  # rows that are looked at a time, in the order of popularity


class Catalogue:
    """Attributes: ids (of each index row), row_of (the index row of each id), table (items.parquet, a row each),
    by_popularity (index rows, the most popular first).
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
        """The raw feature values of a few rows."""
        names = [f.name for f in self._contract.item]
        return list(self.table.select(names).take(pa.array(rows, pa.int64())).to_pylist())

    def has_mask(self, wanted: Filter) -> bool:
        return wanted in self._masks

    def mask(self, wanted: Filter) -> Array:
        """Which items fulfil a filter, bool [items]; the masks of the last few filters are kept."""
        mask = self._masks.get(wanted)
        if mask is None:
            mask = self._columns.mask(wanted)
            if len(self._masks) >= MASKS:
                self._masks.pop(next(iter(self._masks)), None)
            self._masks[wanted] = mask
        return mask

    def popular(self, k: int, hidden: set[int], allowed: Array | None) -> list[tuple[Any, float]]:
        """The k most popular items but for the hidden rows and those not allowed: ids and popularity."""
        rows: list[int] = []
        for start in range(0, len(self.ids), _BLOCK):
            block = self.by_popularity[start : start + _BLOCK]
            rows += [row for row in (block if allowed is None else block[allowed[block]]).tolist() if row not in hidden]
            if len(rows) >= k:
                break
        return [(self.ids[row], float(self._popularity[row])) for row in rows[:k]]
