"""Items of a release for display: search by title, with all features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.page.facets import facets
from two_tower.recommender.filters import filterable
from two_tower.recommender.ranker import Ranker
from two_tower.recommender.titles import title, title_column
from two_tower.schema import Dtype

FOUND = 20  # items per search


class ItemBrowser:
    """Titles, features and search of the items of a release. Reads the whole catalogue: create it once, on a thread.

    Attributes:
        facets: facets of the item columns.
        title: name of the title column; None if there is none.
    """

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker
        self._catalogue = ranker.catalogue
        contract = ranker.contract
        self._columns = [name for name in filterable(contract) if name != contract.item_key]
        self.title = title_column(contract)
        self.facets = facets(self._catalogue.table, contract)
        self._texts = self._search_texts()

    def items(self, ids: Sequence[str | int]) -> list[dict[str, Any]]:
        """Features of the items that exist, in their order."""
        side, row_of = self._ranker.side_index.items, self._catalogue.row_of
        known = [item for item in ids if item in side.row_of or item in row_of]
        from_side = [item for item in known if item in side.row_of]
        rows = dict(zip(from_side, side.columns.rows([side.row_of[item] for item in from_side]), strict=True))
        others = [item for item in known if item not in rows]
        table = self._catalogue.table.select(self._columns)
        others_table = table.take(pa.array([row_of[item] for item in others], pa.int64()))
        rows |= zip(others, others_table.to_pylist(), strict=True)
        return [self._item(item, rows[item]) for item in known]

    def search(self, text: str) -> list[dict[str, Any]]:
        """Most popular items whose id and title contain all words of a text; an exact match of the id comes first."""
        mask = np.ones(len(self._catalogue.ids), dtype=bool)
        for word in text.lower().split():
            mask &= pc.match_substring(self._texts, word).to_numpy(zero_copy_only=False)
        order = self._catalogue.by_popularity
        ids = [self._catalogue.ids[row] for row in order[mask[order]][:FOUND].tolist()]
        exact: list[Any] = [text]
        if self._ranker.contract.item_key_dtype == Dtype.INT64:
            exact = [int(text)] if text.isdecimal() and len(text) < 19 else []
        return self.items(list(dict.fromkeys([*exact, *ids]))[:FOUND])

    def _item(self, item: str | int, row: dict[str, Any]) -> dict[str, Any]:
        features = {name: row[name] for name in self._columns if row.get(name) is not None}
        return {"item_id": item, "title": title(row, self.title), "features": features}

    def _search_texts(self) -> pa.Array:
        """Id and title in lower case, one text per item."""
        table = self._catalogue.table
        texts = table[self._ranker.contract.item_key].combine_chunks().cast(pa.string())
        if self.title:
            titles = table[self.title].combine_chunks()
            words = pc.binary_join(titles, " ") if pa.types.is_list(titles.type) else titles
            texts = pc.binary_join_element_wise(texts, words, " ", null_handling="skip")
        return pc.utf8_lower(texts)
