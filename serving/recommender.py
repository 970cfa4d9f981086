"""Recommendations of one release: raw features in, the best items out. No network, no clock."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from serving.errors import invalid
from two_tower.errors import InputError
from two_tower.index import Index
from two_tower.inputs import Array, table_from_rows, to_inputs
from two_tower.release import ITEMS, MANIFEST, ReleaseError
from two_tower.runtime import open_session
from two_tower.schema import Contract, Dtype, Encoding

POPULARITY = "popularity"  # column of items.parquet
LARGE = 100_000  # items from which a search is worth more than one core

Fallback = Literal["popular", "store"]


class Item(NamedTuple):
    """One recommended item. score: the similarity, or the popularity where the answer is a fallback."""

    item_id: str | int
    score: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """items: best first. seconds: how long each stage took.

    fallback: None, where the towers answered; `popular`, where the user is unknown; `store`, where the online store
    failed. Both give the most popular items.
    """

    items: list[Item]
    release: str
    fallback: Fallback | None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"items": [item._asdict() for item in self.items], "release": self.release, "fallback": self.fallback}


class Recommender:
    """An opened release. Attributes: release (its id), contract, items (how many)."""

    def __init__(self, release: str, contract: Contract, folder: Path) -> None:
        catalogue = pq.read_table(folder / ITEMS, columns=[contract.item_key, POPULARITY])
        self.release = release
        self.contract = contract
        self.items = catalogue.num_rows
        self._ids = catalogue[contract.item_key].to_pylist()
        self._rows = {item: row for row, item in enumerate(self._ids)}
        self._popularity = catalogue[POPULARITY].fill_null(0).to_numpy()
        self._by_popularity = np.argsort(-self._popularity, kind="stable")
        self._seen = _seen_features(contract)
        self._tower = open_session(folder / "user_tower.onnx", threads=1)
        self._index = Index(folder / "index.onnx", threads=None if self.items > LARGE else 1)
        self._widths = _vector_widths(self._tower, contract)
        if self._index.items != self.items:
            raise ReleaseError(
                f"release {release}: index.onnx holds {self._index.items} items, {ITEMS} {self.items}. Index again."
            )

    @classmethod
    def open(cls, folder: Path) -> "Recommender":
        """Open a verified release and answer once, so that the first request finds all of it in memory.

        Raises InputError where its files do not fit together.
        """
        manifest = json.loads((folder / MANIFEST).read_text())
        opened = cls(manifest["id"], Contract.from_dict(manifest["contract"]), folder)
        opened.recommend({}, k=1, exclude_seen=True, now=0)
        return opened

    def recommend(self, row: Mapping[str, Any], *, k: int, exclude_seen: bool, now: float) -> Answer:
        """The k items nearest to a user's embedding, without those seen; fewer where fewer are left.

        row: raw feature values by name; absent ones are missing. k: 1 to `items`. now: seconds since 1970.
        Raises RequestError 422, where the values give no embedding of finite numbers.
        """
        began = time.perf_counter()
        embedding = self._embed(row, now)
        embedded = time.perf_counter()
        exclude = np.array([self._excluded(row) if exclude_seen else []], dtype=np.int64)
        rows, scores = self._index.search(embedding, k, exclude)
        items = [
            Item(self._ids[row], score)
            for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
            if row >= 0
        ]
        seconds = {"embed": embedded - began, "search": time.perf_counter() - embedded}
        return Answer(items=items, release=self.release, fallback=None, seconds=seconds)

    def popular(self, row: Mapping[str, Any], *, k: int, exclude_seen: bool, fallback: Fallback) -> Answer:
        """The k most popular items, without those that the row says were seen."""
        began = time.perf_counter()
        hidden = set(self._excluded(row)) if exclude_seen else set()
        head = self._by_popularity[: k + len(hidden)].tolist()
        rows = [row for row in head if row not in hidden][:k]
        items = [Item(self._ids[row], float(self._popularity[row])) for row in rows]
        seconds = {"popular": time.perf_counter() - began}
        return Answer(items=items, release=self.release, fallback=fallback, seconds=seconds)

    def _embed(self, row: Mapping[str, Any], now: float) -> Array:
        """The user's embedding, float32 [1, dim]."""
        try:
            table = table_from_rows([row], self.contract.user)
        except InputError as error:
            raise invalid(str(error), "Send the value in the feature's own type.") from error
        inputs = to_inputs(table, self.contract.user, np.array([int(now)], dtype=np.int64))
        for name, width in self._widths.items():
            inputs[name] = _fit(name, inputs[name], width)
        (embedding,) = self._tower.run(["embedding"], inputs)
        if not np.isfinite(embedding).all():
            raise invalid("The features give no finite embedding.", "Check for numbers far out of their usual range.")
        return np.asarray(embedding)

    def _excluded(self, row: Mapping[str, Any]) -> list[int]:
        """Index rows of the items that a user's features say were seen; items not in the catalogue are passed over."""
        seen = (item for name in self._seen for item in row.get(name) or ())
        return [found for item in seen if (found := self._rows.get(item)) is not None]


def _seen_features(contract: Contract) -> list[str]:
    """The features that list items the user has seen: that of the service `user_seen`, and the histories."""
    names = [f.name for f in contract.user if f.encoding == Encoding.HISTORY]
    return [contract.seen.name, *names] if contract.seen else names


def _vector_widths(tower: Any, contract: Contract) -> dict[str, int]:
    """The width that the user tower takes of each vector feature, where its file fixes one."""
    shapes = {given.name: given.shape for given in tower.get_inputs()}
    vectors = [f.name for f in contract.user if f.dtype == Dtype.FLOATS]
    return {name: shapes[name][1] for name in vectors if isinstance(shapes[name][1], int)}


def _fit(name: str, vector: Array, width: int) -> Array:
    """A vector input, [1, width]; a missing one, of whatever width, is NaN all over."""
    if vector.shape[1] == width:
        return vector
    if np.isnan(vector).all():
        return np.full((1, width), np.nan, dtype=np.float32)
    raise invalid(f"feature {name!r} has {vector.shape[1]} numbers.", f"It takes vectors of {width}.")
