"""Ranking with one release: raw features in, the best items out. No network, no clock."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.inputs import Array
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.cores import cores
from two_tower.recommender.errors import RequestError, invalid, not_found
from two_tower.recommender.filters import Filter
from two_tower.recommender.requests import RecommendRequest, SimilarRequest
from two_tower.recommender.response import Fallback, Item, Response
from two_tower.recommender.search import ItemSearch
from two_tower.recommender.side_index import SideIndex
from two_tower.recommender.tower import Tower
from two_tower.releases.release import Release
from two_tower.runtime import Device
from two_tower.schema import Encoding

LARGE = 100_000  # items from which a search may use more than one core, and the service runs it on a thread
NEAREST = 3  # history items that explain a recommendation
BATCH = 1024  # rows of one call of a tower

log = logging.getLogger(__name__)


class Ranker:
    """The towers, the index and the side items of a release.

    Attributes:
        release: id of the release.
        contract: which features feed which tower.
        embedding_space: id of the space that the towers and the index share.
        as_of: when the release's data end, seconds since 1970.
        catalogue: the items of the release with their features and popularity.
        user_tower, item_tower: raw feature values in, embeddings out.
        side_index: items that were added, changed or removed since the release was published.
        large: whether the catalogue has more than 100,000 items.

    Args:
        opened: the release, verified.
        releases: folder or URL of the releases, which also holds the side items.
        device: device of the towers and the index.
        workers: number of processes that share the cores.
    """

    def __init__(self, opened: Release, releases: str | Path, device: Device, workers: int) -> None:
        folder = opened.folder
        self.release = opened.id
        self.contract = opened.contract
        self.embedding_space = opened.manifest.embedding_space
        self.as_of = int(opened.manifest.as_of.timestamp())
        self.catalogue = Catalogue(folder, self.contract)
        self.large = len(self.catalogue.ids) > LARGE
        self.user_tower = Tower(folder, "user", self.contract, device, threads=1)
        self.item_tower = Tower(folder, "item", self.contract, device, threads=1)
        self.side_index = SideIndex(releases, self.embedding_space, self.contract, self.catalogue, self.item_tower)
        self._search = ItemSearch(folder, self.catalogue, device, cores(workers=workers) if self.large else 1)
        self._history = [f for f in self.contract.user if f.encoding == Encoding.HISTORY]
        seen = [self.contract.seen] if self.contract.seen else []
        self._seen = [f.name for f in (*seen, *self._history)]

    @property
    def size(self) -> int:
        """Number of items that can be recommended."""
        return len(self.catalogue.ids) + self.side_index.items.new

    def rank(self, requests: Sequence[RecommendRequest], now: float) -> list[Response | RequestError]:
        """Find the k items nearest to each user's embedding.

        Args:
            requests: requests with features.
            now: time of the requests, seconds since 1970.

        Returns:
            One response per request; RequestError 422 if the embedding of passed features is not finite. If the
            features are from the online store, the response then has popular items and `fallback="store"`, because the
            client did not cause the error.
        """
        if not requests:
            return []
        began = time.perf_counter()
        try:
            embeddings = self.user_tower.embed([request.features or {} for request in requests], int(now))
        except RequestError as error:
            if len(requests) == 1:
                return [self._refused(requests[0], error)]
            return [response for request in requests for response in self.rank([request], now)]  # find the wrong one
        embedded = time.perf_counter()
        finite: Array = np.asarray(np.isfinite(embeddings).all(axis=1))
        embeddings[~finite] = 0
        excluded = [self._excluded(request) for request in requests]
        results = self._search.search(embeddings, requests, excluded, self.side_index.items)
        seconds = {"embed": embedded - began, "search": time.perf_counter() - embedded}
        return [
            Response(items=items, release=self.release, fallback=None, seconds=seconds)
            if is_finite
            else self._refused(request, _not_finite())
            for items, request, is_finite in zip(results, requests, finite, strict=True)
        ]

    def popular(self, request: RecommendRequest, fallback: Fallback) -> Response:
        """Return the k most popular items that the request does not exclude."""
        began = time.perf_counter()
        row_of = self.catalogue.row_of
        hidden = {row_of[item] for item in self._excluded(request) if item in row_of} | self.side_index.items.removed
        ranked = self.catalogue.popular(request.k, hidden, self._mask(request.filters))
        items = [Item(item, popularity) for item, popularity in ranked]
        seconds = {"popular": time.perf_counter() - began}
        return Response(items=items, release=self.release, fallback=fallback, seconds=seconds)

    def nearest(self, request: SimilarRequest) -> Response:
        """Find the items nearest to an item, without the item itself. Raises RequestError 404 if it is unknown."""
        began = time.perf_counter()
        embedding = self.embed_items([request.item_id])
        embedded = time.perf_counter()
        as_user = RecommendRequest(k=request.k, filters=request.filters)
        (items,) = self._search.search(embedding, [as_user], [{request.item_id}], self.side_index.items)
        seconds = {"embed": embedded - began, "search": time.perf_counter() - embedded}
        return Response(items=items, release=self.release, fallback=None, seconds=seconds)

    def explain(self, features: Mapping[str, Any], items: Sequence[Item]) -> list[list[Item]]:
        """For each item, find the items of the user's history that are nearest to it, with their similarity."""
        listed = [item for f in self._history for item in (features.get(f.name) or ())[-f.max_length :]]
        history = [item for item in dict.fromkeys(listed) if self._knows(item)]
        if not history or not items:
            return [[] for _ in items]
        scores = self.similarity(self.embed_items([item.item_id for item in items]), self.embed_items(history))
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :NEAREST]
        return [[Item(history[j], float(scores[i, j])) for j in columns] for i, columns in enumerate(nearest.tolist())]

    def embed_users(self, rows: Sequence[Mapping[str, Any]], now: float) -> Array:
        """Embed users, (users, dim) float32.

        Args:
            rows: raw feature values by name, missing ones may be absent.
            now: time of the request, seconds since 1970.

        Raises:
            RequestError: 422 if a value has the wrong type, or if an embedding is not finite.
        """
        parts = [self.user_tower.embed(rows[i : i + BATCH], int(now)) for i in range(0, len(rows), BATCH)]
        embeddings = self._joined(parts)
        if not np.isfinite(embeddings).all():
            raise _not_finite()
        return embeddings

    def embed_items(self, items: Sequence[str | int]) -> Array:
        """Embed items of the catalogue or of the side index as of the release, (items, dim) float32.

        Raises:
            RequestError: 404 if an item is unknown.
        """
        for item in items:
            if not self._knows(item):
                raise not_found(f"There is no item {item!r:.60}.", "Pass the id of an item of the catalogue.")
        rows = [self.catalogue.row_of.get(item, 0) for item in items]
        parts = [
            self.item_tower.embed(self.catalogue.features(rows[i : i + BATCH]), self.as_of)
            for i in range(0, len(rows), BATCH)
        ]
        embeddings = self._joined(parts)
        side = self.side_index.items
        for place, item in enumerate(items):
            if (side_row := side.row_of.get(item)) is not None:
                embeddings[place] = side.embeddings[side_row]
        return embeddings

    def similarity(self, users: Array, items: Array) -> Array:
        """Similarity of each pair, (users, items) float32, from (users, dim) and (items, dim) embeddings."""
        return self._search.similarity(users, items)

    def _joined(self, parts: list[Array]) -> Array:
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty((0, self._search.dim), dtype=np.float32), *parts])

    def _knows(self, item: str | int) -> bool:
        return item in self.catalogue.row_of or item in self.side_index.items.row_of

    def _mask(self, filters: Filter) -> Array | None:
        return self.catalogue.mask(filters) if filters else None

    def _excluded(self, request: RecommendRequest) -> set[Any]:
        """Ids that a request excludes: those that its features list as seen, and its own."""
        features = request.features or {}
        seen = (features.get(name) or () for name in self._seen) if request.exclude_seen else ()
        return set(request.exclude).union(*seen) - {None}

    def _refused(self, request: RecommendRequest, error: RequestError) -> Response | RequestError:
        if not request.from_store:
            return error
        log.warning("a user's row of the online store is unusable: %s", error.hint)  # without the user's data
        return self.popular(request, "store")


def _not_finite() -> RequestError:
    return invalid("The features give no finite embedding.", "Check for numbers far out of their usual range.")
