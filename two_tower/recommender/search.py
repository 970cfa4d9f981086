"""Search for the items nearest to embeddings: the release's index and the side items together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.inputs import Array
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.filters import Filter
from two_tower.recommender.requests import RecommendRequest
from two_tower.recommender.response import Item
from two_tower.recommender.side_items import SideItems
from two_tower.releases.manifest import File, ReleaseError
from two_tower.retrieval.index import Index
from two_tower.runtime import Device


class ItemSearch:
    """The items of a release, searched by embedding. Attribute dim: width of an embedding.

    Args:
        folder: folder of a verified release.
        catalogue: the items of the release.
        device: device of the index.
        threads: cores that one search may use.

    Raises:
        ReleaseError: if the index and the catalogue have different numbers of items.
    """

    def __init__(self, folder: Path, catalogue: Catalogue, device: Device, threads: int) -> None:
        self._catalogue = catalogue
        self._index = Index(folder / File.INDEX, device, threads)
        self.dim = self._index.dim
        if self._index.items != len(catalogue.ids):
            raise ReleaseError(
                f"release {folder.name}: index.onnx holds {self._index.items} items, {File.ITEMS} "
                f"{len(catalogue.ids)}. Index again."
            )

    def search(
        self, embeddings: Array, requests: Sequence[RecommendRequest], excluded: Sequence[set[Any]], side: SideItems
    ) -> list[list[Item]]:
        """Find the best items of each request, fewer than k only if fewer are left.

        Args:
            embeddings: (requests, dim) float32.
            requests: their `k` and `filters` are used; requests with equal filters are searched together.
            excluded: ids that must not be returned, one set per request.
            side: items to search in addition to the index.
        """
        results: list[list[Item]] = [[] for _ in requests]
        for filters in dict.fromkeys(request.filters for request in requests):
            places = [i for i, request in enumerate(requests) if request.filters == filters]
            k = max(requests[i].k for i in places)
            rows, scores = self._index.search(
                embeddings[places],
                min(k, self._index.items),
                self._excluded_rows([excluded[i] for i in places], side),
                self._catalogue.mask(filters) if filters else None,
            )
            side_k = k + max(sum(item in side.row_of for item in excluded[i]) for i in places)
            from_side = self._search_side(embeddings[places], side, filters, side_k)
            for i, row, score, side_items in zip(places, rows.tolist(), scores.tolist(), from_side, strict=True):
                items = [Item(self._catalogue.ids[r], s) for r, s in zip(row, score, strict=True) if r >= 0]
                if side_items:
                    items += [item for item in side_items if item.item_id not in excluded[i]]
                    items.sort(key=lambda item: -item.score)
                results[i] = items[: requests[i].k]
        return results

    def similarity(self, queries: Array, items: Array) -> Array:
        """Similarity of each pair, (queries, items) float32, from (queries, dim) and (items, dim) embeddings."""
        if self._index.similarity == "euclidean":
            return -np.linalg.norm(queries[:, None] - items[None], axis=2)
        if self._index.similarity == "cosine":
            queries, items = _unit(queries), _unit(items)
        return np.asarray(queries @ items.T)

    def _search_side(self, embeddings: Array, side: SideItems, filters: Filter, k: int) -> list[list[Item]]:
        """The best side items of each embedding that pass the filters, at most k."""
        if not side.ids:
            return [[]] * len(embeddings)
        rows = np.flatnonzero(side.columns.mask(filters))
        scores = self.similarity(embeddings, side.embeddings[rows])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [
            [Item(side.ids[rows[j]], float(row[j])) for j in columns]
            for row, columns in zip(scores, best.tolist(), strict=True)
        ]

    def _excluded_rows(self, excluded: Sequence[set[Any]], side: SideItems) -> Array:
        """Index rows to leave out, (requests, most) int64, padded with -1: also those of changed or removed items."""
        row_of = self._catalogue.row_of.get
        lists = [[*side.replaced, *(row_of(item, -1) for item in ids)] for ids in excluded]
        most = max(map(len, lists))
        return np.array([rows + [-1] * (most - len(rows)) for rows in lists], dtype=np.int64).reshape(len(lists), most)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30))
