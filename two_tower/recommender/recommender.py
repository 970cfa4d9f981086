"""Recommendations of one release: raw features in, the best items out. No network, no clock."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from two_tower.inputs import Array
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.cores import cores
from two_tower.recommender.errors import RequestError, invalid, not_found
from two_tower.recommender.filters import Filter
from two_tower.recommender.side_index import NO_ITEMS, SideItems
from two_tower.recommender.tower import Tower
from two_tower.releases.release import ITEMS, MANIFEST, ReleaseError
from two_tower.retrieval.index import Index
from two_tower.runtime import Device
from two_tower.schema import Contract, Encoding

LARGE = 100_000  # items from which a search is worth more than one core, and a thread of its own
NEAREST = 3  # history items that explain a recommendation

Fallback = Literal["popular", "store"]


class Item(NamedTuple):
    """One recommended item. score: the similarity, or the popularity where the answer is a fallback."""

    item_id: str | int
    score: float


class Query(NamedTuple):
    """One user's question. row: raw feature values by name; absent ones are missing. k: 1 to `size`."""

    row: Mapping[str, Any]
    k: int
    exclude_seen: bool = True
    wanted: Filter = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """items: best first. seconds: how long each stage took. reasons: the nearest history items of each item.

    fallback: None, where the towers answered; `popular`, where the user is unknown; `store`, where the online store
    failed. Both give the most popular items.
    """

    items: list[Item]
    release: str
    fallback: Fallback | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    reasons: list[list[Item]] | None = None

    def to_dict(self) -> dict[str, Any]:
        items: list[dict[str, Any]] = [{"item_id": item, "score": score} for item, score in self.items]
        if self.reasons is not None:
            for item, nearest in zip(items, self.reasons, strict=True):
                item["nearest_history"] = [one._asdict() for one in nearest]
        return {"items": items, "release": self.release, "fallback": self.fallback}


class Recommender:
    """An opened release. Attributes: release (its id), contract, catalogue, embedding_space, user and item (towers).

    side: items embedded since the release was made; they are searched with it. Replaced as a whole.
    """

    def __init__(self, manifest: Mapping[str, Any], folder: Path, device: Device, workers: int) -> None:
        self.release: str = manifest["id"]
        self.contract = Contract.from_dict(manifest["contract"])
        self.embedding_space: str = manifest["embedding_space"]
        self.as_of = int(datetime.fromisoformat(manifest["bounds"]["as_of"]).timestamp())
        self.catalogue = Catalogue(folder, self.contract)
        self.user = Tower(folder, "user", self.contract, device, threads=1)
        self.item = Tower(folder, "item", self.contract, device, threads=1)
        self.large = len(self.catalogue.ids) > LARGE
        self._index = Index(folder / "index.onnx", device, threads=cores(workers=workers) if self.large else 1)
        self._seen = _seen_features(self.contract)
        self._history = [f for f in self.contract.user if f.encoding == Encoding.HISTORY]
        self.side: SideItems = NO_ITEMS
        if self._index.items != len(self.catalogue.ids):
            raise ReleaseError(
                f"release {self.release}: index.onnx holds {self._index.items} items, {ITEMS} "
                f"{len(self.catalogue.ids)}. Index again."
            )

    @classmethod
    def open(cls, folder: Path, device: Device = "cpu", workers: int = 1) -> "Recommender":
        """Open a verified release and answer once, so that the first request finds all of it in memory.

        workers: how many processes share the cores. Raises InputError where its files do not fit together, and where it
        cannot run on the device.
        """
        opened = cls(json.loads((folder / MANIFEST).read_text()), folder, device, workers)
        for answer in opened.recommend([Query({}, k=1), Query({}, k=1)], now=opened.as_of):
            if isinstance(answer, Exception):
                raise answer
        return opened

    @property
    def size(self) -> int:
        """How many items can be recommended."""
        return len(self.catalogue.ids) + self.side.new

    def recommend(self, queries: Sequence[Query], now: float) -> list[Answer | RequestError]:
        """The k items nearest to each user's embedding, without those seen; fewer only where fewer are left.

        now: seconds since 1970. RequestError 422 for a query whose values give no embedding of finite numbers.
        """
        began = time.perf_counter()
        try:
            embeddings = self.user.embed([query.row for query in queries], int(now))
        except RequestError as error:
            if len(queries) == 1:
                return [error]
            return [answer for query in queries for answer in self.recommend([query], now)]  # one of them is to blame
        embedded = time.perf_counter()
        finite: Array = np.asarray(np.isfinite(embeddings).all(axis=1))
        embeddings[~finite] = 0
        excluded = [self._excluded(query.row) if query.exclude_seen else set() for query in queries]
        found = self._search(embeddings, queries, excluded)
        seconds = {"embed": embedded - began, "search": time.perf_counter() - embedded}
        return [
            Answer(items=items, release=self.release, fallback=None, seconds=seconds) if good else _not_finite()
            for items, good in zip(found, finite, strict=True)
        ]

    def similar(self, item_id: str | int, k: int, wanted: Filter = ()) -> Answer:
        """The k items nearest to an item, without itself. Raises RequestError 404 for an item that nobody knows."""
        began = time.perf_counter()
        embedding = self.embed_known([item_id])
        embedded = time.perf_counter()
        (items,) = self._search(embedding, [Query({}, k, wanted=wanted)], [{item_id}])
        seconds = {"embed": embedded - began, "search": time.perf_counter() - embedded}
        return Answer(items=items, release=self.release, fallback=None, seconds=seconds)

    def popular(self, query: Query, fallback: Fallback) -> Answer:
        """The k most popular items, without those that the row says were seen."""
        began = time.perf_counter()
        seen = self._excluded(query.row) if query.exclude_seen else set()
        hidden = {row for item in seen if (row := self.catalogue.row_of.get(item)) is not None}
        allowed = self._allowed(query.wanted)
        items = [Item(item, score) for item, score in self.catalogue.popular(query.k, hidden, allowed)]
        seconds = {"popular": time.perf_counter() - began}
        return Answer(items=items, release=self.release, fallback=fallback, seconds=seconds)

    def explain(self, row: Mapping[str, Any], items: Sequence[Item]) -> list[list[Item]]:
        """For each item, the items of the user's history that are nearest to it, and how near."""
        listed = [item for f in self._history for item in (row.get(f.name) or ())[-f.max_length :]]
        history = [item for item in dict.fromkeys(listed) if item in self.side.row_of or item in self.catalogue.row_of]
        if not history or not items:
            return [[] for _ in items]
        scores = self.similarity(self.embed_known([item.item_id for item in items]), self.embed_known(history))
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :NEAREST]
        return [[Item(history[j], float(scores[i, j])) for j in columns] for i, columns in enumerate(nearest.tolist())]

    def embed_known(self, items: Sequence[str | int]) -> Array:
        """Embeddings of items of the catalogue or of the side index, float32 [items, dim]. Raises RequestError 404."""
        rows = []
        for item in items:
            if item not in self.side.row_of and item not in self.catalogue.row_of:
                raise not_found(f"There is no item {item!r:.60}.", "Give the id of an item of the catalogue.")
            rows.append(self.catalogue.row_of.get(item, 0))
        embeddings = self.item.embed(self.catalogue.features(rows), self.as_of)
        for place, item in enumerate(items):
            if (side_row := self.side.row_of.get(item)) is not None:
                embeddings[place] = self.side.embeddings[side_row]
        return embeddings

    def similarity(self, queries: Array, items: Array) -> Array:
        """The release's similarity of each pair, float32 [queries, items]."""
        if self._index.similarity == "euclidean":
            return -np.linalg.norm(queries[:, None] - items[None], axis=2)
        if self._index.similarity == "cosine":
            queries, items = _unit(queries), _unit(items)
        return np.asarray(queries @ items.T)

    def _search(self, embeddings: Array, queries: Sequence[Query], excluded: Sequence[set[Any]]) -> list[list[Item]]:
        """The best items of each query: those with the same filter are searched together."""
        side = self.side  # taken once: another thread may replace it
        found: list[list[Item]] = [[] for _ in queries]
        for wanted in dict.fromkeys(query.wanted for query in queries):
            places = [i for i, query in enumerate(queries) if query.wanted == wanted]
            k = max(queries[i].k for i in places)
            exclude = self._exclude([excluded[i] for i in places], side)
            rows, scores = self._index.search(
                embeddings[places], min(k, self._index.items), exclude, self._allowed(wanted)
            )
            most = k + max(sum(item in side.row_of for item in excluded[i]) for i in places)
            near = self._near(embeddings[places], side, wanted, most)
            for i, row, score, beside in zip(places, rows.tolist(), scores.tolist(), near, strict=True):
                items = [Item(self.catalogue.ids[r], s) for r, s in zip(row, score, strict=True) if r >= 0]
                if beside:
                    items += [item for item in beside if item.item_id not in excluded[i]]
                    items.sort(key=lambda item: -item.score)
                found[i] = items[: queries[i].k]
        return found

    def _near(self, embeddings: Array, side: SideItems, wanted: Filter, most: int) -> list[list[Item]]:
        """For each embedding the best side items that fulfil a filter, at most `most`."""
        if not side.ids:
            return [[]] * len(embeddings)
        rows = np.flatnonzero(side.columns.mask(wanted))
        scores = self.similarity(embeddings, side.embeddings[rows])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        return [
            [Item(side.ids[rows[j]], float(one[j])) for j in places]
            for one, places in zip(scores, best.tolist(), strict=True)
        ]

    def _exclude(self, excluded: Sequence[set[Any]], side: SideItems) -> Array:
        """Index rows that are not to be found, int64 [batch, most], padded with -1; side items replace their own."""
        row_of = self.catalogue.row_of.get
        lists = [[*side.replaced, *(row_of(item, -1) for item in one)] for one in excluded]
        most = max(map(len, lists))
        return np.array([one + [-1] * (most - len(one)) for one in lists], dtype=np.int64).reshape(len(lists), most)

    def _allowed(self, wanted: Filter) -> Array | None:
        return self.catalogue.mask(wanted) if wanted else None

    def _excluded(self, row: Mapping[str, Any]) -> set[Any]:
        """The items that a user's features say were seen."""
        return set().union(*(row.get(name) or () for name in self._seen)) - {None}


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30))


def _not_finite() -> RequestError:
    return invalid("The features give no finite embedding.", "Check for numbers far out of their usual range.")


def _seen_features(contract: Contract) -> list[str]:
    """The features that list items the user has seen: that of the service `user_seen`, and the histories."""
    names = [f.name for f in contract.user if f.encoding == Encoding.HISTORY]
    return [contract.seen.name, *names] if contract.seen else names
