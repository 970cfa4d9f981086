"""The right items of a release by the code of the evaluation: both towers and an exact search, without the index."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.inputs import Array, table_from_rows
from two_tower.releases.item_index import embed_items, embed_users
from two_tower.releases.manifest import File
from two_tower.releases.release import Release
from two_tower.runtime import open_session
from two_tower.schema import POPULARITY

MOST_SCORED = 100_000  # items that are scored for each user; of a larger catalogue an evenly spaced sample
_CLOSE = 1e-5  # tolerance of a score: embeddings are computed one by one or in batches

Items = Sequence[tuple[Any, float]]


class ExactRanking:
    """The items of a release, embedded by its item tower.

    Attributes:
        ids: Ids of the items that are scored.
        table: Their features and popularity.
        complete: Whether these are all items of the release.

    Args:
        release: The release, verified.
    """

    def __init__(self, release: Release) -> None:
        self._folder, self._contract = release.folder, release.contract
        self._seconds = int(release.manifest.as_of.timestamp())
        metadata = open_session(release.path(File.USER_TOWER)).get_modelmeta().custom_metadata_map
        self._similarity = metadata["similarity"]
        self._catalogue = pq.read_table(release.path(File.ITEMS))
        rows = np.arange(0, self._catalogue.num_rows, -(-self._catalogue.num_rows // MOST_SCORED))
        self.complete = len(rows) == self._catalogue.num_rows
        self.table = self._catalogue.take(pa.array(rows))
        self._vectors = self._embed(self.table, self._seconds)
        self._shift = np.zeros(self.table.num_rows)  # how far an embedding may be off, since its time is not known
        self._index()

    def _index(self) -> None:
        self.ids: list[Any] = self.table[self._contract.item_key].to_pylist()
        self._place = {item: place for place, item in enumerate(self.ids)}
        self._popularity = self.table[POPULARITY].fill_null(0).to_numpy()
        self._squares = np.square(self._vectors).sum(axis=1)

    def _embed(self, table: pa.Table, seconds: int) -> Array:
        return embed_items(self._folder, table, self._contract, np.full(table.num_rows, seconds, dtype=np.int64))

    @property
    def size(self) -> int:
        """Number of items of the release."""
        return int(self._catalogue.num_rows)

    @property
    def popular_place(self) -> int:
        """Place in `ids` of the most popular item."""
        return int(np.argmax(self._popularity))

    def add(self, table: pa.Table, since: float, until: float) -> None:
        """Add items that were embedded between two times, in seconds since 1970."""
        first, last = self._embed(table, int(since)), self._embed(table, int(until))
        self._vectors = np.concatenate([self._vectors, first])
        self._shift = np.concatenate([self._shift, np.linalg.norm(last - first, axis=1)])
        self.table = pa.concat_tables([self.table, table])
        self._index()

    def include(self, items: Iterable[Any]) -> None:
        """Score these items too, if the release has them."""
        unscored = [] if self.complete else [item for item in items if item not in self._place]
        if not unscored:
            return
        absent = pa.array(unscored, self.table[self._contract.item_key].type)
        rows = self._catalogue.filter(pc.is_in(self._catalogue[self._contract.item_key], value_set=absent))
        if rows.num_rows:
            self.add(rows, self._seconds, self._seconds)

    def users(self, rows: Sequence[Mapping[str, Any]], seconds: Sequence[float]) -> Array:
        """Embed users at the times of their requests, (users, dim) float32."""
        table = table_from_rows(rows, self._contract.user)
        return embed_users(self._folder, table, self._contract, np.array(seconds, dtype=np.int64))

    def fault(self, items: Items, k: int, user: Array, excluded: set[Any], allowed: Array | None) -> str:
        """Describe the first fault of the items that the towers recommend to a user.

        Args:
            items: Ids and scores of the response, best first.
            k: Number of items of the request.
            user: Embeddings of the user at the time of the request and of the response, (2, dim) float32.
            excluded: Ids that the response must not have.
            allowed: Mask of the items that pass the filter, (ids,) bool; None allows all.

        Returns:
            A clause; empty if the response is right. Items with equal scores may be in any order.
        """
        first, last = (self._linear(one) for one in user)
        scores = np.array([score for _, score in items], dtype=np.float64)
        square = float(np.square(user[0]).sum())
        reach = np.sqrt(square * self._squares)
        if self._similarity == "euclidean":
            scores, reach = -np.square(scores), self._squares + square
        moved = np.abs(first - last) + 2 * self._shift * (np.sqrt(square) + np.sqrt(self._squares))
        tolerance = _CLOSE * np.maximum(reach, 1) + moved
        return self._fault(items, scores, k, (first + last) / 2, tolerance, excluded, allowed)

    def _linear(self, user: Array) -> Array:
        """Score of each item; for euclidean the negative squared distance, since a root has no precision near 0."""
        scores = self._vectors @ user
        if self._similarity == "euclidean":
            scores = 2 * scores - self._squares - np.square(user).sum()
        return np.asarray(scores)

    def popular_fault(self, items: Items, k: int, excluded: set[Any], allowed: Array | None) -> str:
        """Describe the first fault of the most popular items; see `fault`."""
        scores = np.array([score for _, score in items], dtype=np.float64)
        return self._fault(items, scores, k, self._popularity, np.full(len(self.ids), _CLOSE), excluded, allowed)

    def _fault(
        self,
        items: Items,
        scores: Array,
        k: int,
        exact: Array,
        tolerance: Array,
        excluded: set[Any],
        allowed: Array | None,
    ) -> str:
        ids = [item for item, _ in items]
        if unknown := [item for item in ids if item not in self._place]:
            return f"item {unknown[0]!r} is not in the catalogue of this run"
        if len(set(ids)) != len(ids):
            return "an item is there twice"
        offered = np.ones(len(self.ids), dtype=bool) if allowed is None else allowed.copy()
        offered[[self._place[item] for item in excluded if item in self._place]] = False
        places = np.array([self._place[item] for item in ids], dtype=np.int64)
        if not offered[places].all():
            return f"item {ids[int(np.argmin(offered[places]))]!r} should be left out: seen, or not in the filter"
        if self.complete and len(ids) != min(k, int(offered.sum())):
            return f"{len(ids)} items instead of {min(k, int(offered.sum()))}"
        if not np.isfinite(scores).all() or (np.diff(scores) > tolerance[places][1:]).any():
            return "the scores are not in descending order"
        off = np.abs(scores - exact[places]) > tolerance[places]
        if off.any():
            worst = int(np.argmax(off))
            return f"item {ids[worst]!r} has the score {scores[worst]:.6g}, the towers give {exact[places[worst]]:.6g}"
        offered[places] = False
        best = int(np.argmax(np.where(offered, exact, -np.inf)))
        if len(ids) and offered[best] and exact[best] > exact[places].min() + tolerance[best] + tolerance[places].max():
            return f"item {self.ids[best]!r} is absent, whose score {exact[best]:.6g} is above the last item's"
        return ""
