"""The side index: items that were added or changed since the release was published, searched in addition to its index.

Each upsert is embedded by the release's item tower and written to its own folder:

    <releases>/side/<embedding space>/<time>-<random>/items.parquet    key, item features, time of the upsert, embedding

Other replicas, a restarted service and a later release of the same embedding space read it; the newest row of an item
counts. A release of another embedding space starts without side items: the run that makes it can read their features
from those files.
"""

import io
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.inputs import ARROW_TYPES, Array, table_from_rows
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.errors import invalid, unavailable
from two_tower.recommender.filters import Columns
from two_tower.recommender.tower import Tower
from two_tower.releases.manifest import File
from two_tower.schema import EMBEDDING, POPULARITY, Contract
from two_tower.storage import open_storage

FOLDER = "side"
UPDATED = "two_tower_updated"  # column: when the item was upserted
MOST_ITEMS = 10_000  # that one side index may hold


@dataclass(frozen=True)
class SideItems:
    """Side items at one moment.

    Attributes:
        ids: item ids.
        row_of: maps an id to its place in `ids`.
        embeddings: (items, dim) float32.
        columns: features of the items, for filters.
        replaced: index rows of the items that also are in the release.
        updated: time of the newest upsert, seconds since 1970.
    """

    ids: list[Any] = field(default_factory=list)
    row_of: Mapping[Any, int] = field(default_factory=dict)
    embeddings: Array = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    columns: Columns = field(default_factory=lambda: Columns(pa.table({})))
    replaced: list[int] = field(default_factory=list)
    updated: float = 0.0

    @property
    def new(self) -> int:
        """Number of items that are not in the release."""
        return len(self.ids) - len(self.replaced)


NO_ITEMS = SideItems()


class SideIndex:
    """The side items of one release. All methods may be called on any thread.

    Attribute items: the side items that are searched now; each change replaces them as a whole.

    Args:
        releases: folder or URL of the releases.
        embedding_space: id of the space of the side items.
        contract: feature contract of the release.
        catalogue: the items of the release.
        tower: item tower of the release.
    """

    def __init__(
        self, releases: str | Path, embedding_space: str, contract: Contract, catalogue: Catalogue, tower: Tower
    ) -> None:
        self.items: SideItems = NO_ITEMS
        self._storage = open_storage(f"{str(releases).rstrip('/')}/{FOLDER}/{embedding_space}")
        self._contract = contract
        self._tower = tower
        self._catalogue = catalogue
        self._schema = pa.schema(
            [
                (contract.item_key, ARROW_TYPES[contract.item_key_dtype]),
                *((f.name, ARROW_TYPES[f.dtype]) for f in contract.item if f.name != contract.item_key),
                (UPDATED, pa.timestamp("us", tz="UTC")),
                (EMBEDDING, pa.list_(pa.float32())),
            ]
        )
        self._rows: dict[Any, dict[str, Any]] = {}
        self._read: set[str] = set()
        self._lock = threading.Lock()

    def upsert(self, items: Mapping[Any, Mapping[str, Any]], now: float) -> int:
        """Embed and store items, and return the number of side items.

        Args:
            items: raw features by item id. A feature that is absent keeps its value.
            now: time of the upsert, seconds since 1970.

        Raises:
            RequestError: 422 if an item cannot be embedded, 503 if the side index is full or cannot be written. Then
                nothing changes.
        """
        with self._lock:
            self._refuse_too_many(items)
            rows = [self._features(item) | dict(features) | self._id_feature(item) for item, features in items.items()]
            embeddings = self._tower.embed(rows, int(now))
            for item, embedding in zip(items, embeddings, strict=True):
                if not np.isfinite(embedding).all():
                    raise invalid(f"item {item!r:.60} has no finite embedding.", "Check for numbers far out of range.")
            stamp = datetime.fromtimestamp(now, UTC)
            key = self._contract.item_key
            new_rows = {
                item: row | {key: item, UPDATED: stamp, EMBEDDING: embedding}
                for (item, row, embedding) in zip(items, rows, embeddings.tolist(), strict=True)
            }
            self._write(new_rows, stamp)
            self._merge(new_rows)
            return len(self._rows)

    def refresh(self) -> None:
        """Read what other replicas have written. Raises OSError if the releases cannot be read."""
        with self._lock:
            names = [name for name in self._storage.folders() if name not in self._read]
            rows: dict[Any, dict[str, Any]] = {}
            for name in names:  # oldest first
                table = pq.read_table(io.BytesIO(self._storage.read(f"{name}/{File.ITEMS}")))
                self._read.add(name)
                if table.schema.equals(self._schema):
                    rows |= {row[self._contract.item_key]: row for row in table.to_pylist()}
            if rows:
                self._merge(rows)

    def _merge(self, rows: Mapping[Any, dict[str, Any]]) -> None:
        """Add the rows that are newer than those held, and drop those that equal the catalogue's."""
        newer = {
            item: row
            for item, row in rows.items()
            if item not in self._rows or self._rows[item][UPDATED] <= row[UPDATED]
        }
        self._rows |= newer
        for item in self._in_catalogue(newer):
            del self._rows[item]
        self.items = self._side_items()

    def _side_items(self) -> SideItems:
        if not self._rows:
            return NO_ITEMS
        ids, rows = list(self._rows), list(self._rows.values())
        table = pa.Table.from_pylist(rows, schema=self._schema)
        return SideItems(
            ids=ids,
            row_of={item: row for row, item in enumerate(ids)},
            embeddings=np.array([row[EMBEDDING] for row in rows], dtype=np.float32),
            columns=Columns(table.append_column(POPULARITY, pa.array(np.zeros(len(ids))))),
            replaced=[row for item in ids if (row := self._catalogue.row_of.get(item)) is not None],
            updated=max(row[UPDATED] for row in rows).timestamp(),
        )

    def _in_catalogue(self, rows: Mapping[Any, Mapping[str, Any]]) -> list[Any]:
        """Items that the catalogue holds with the same features."""
        both = [item for item in rows if item in self._catalogue.row_of]
        if not both:
            return []
        held = self._catalogue.features([self._catalogue.row_of[item] for item in both])
        typed = table_from_rows([rows[item] for item in both], self._contract.item).to_pylist()
        return [item for item, one, other in zip(both, held, typed, strict=True) if one == other]

    def _features(self, item: Any) -> dict[str, Any]:
        """The stored features of an item; all are missing if it is new."""
        names = [f.name for f in self._contract.item]
        if item in self._rows:
            return {name: self._rows[item].get(name) for name in names}
        place = self._catalogue.row_of.get(item)
        return dict.fromkeys(names) if place is None else dict(self._catalogue.features([place])[0])

    def _id_feature(self, item: Any) -> dict[str, Any]:
        """The item's id as a feature, if the item tower takes it: no upsert may give an item the id of another."""
        key = self._contract.item_key
        return {key: item} if any(f.name == key for f in self._contract.item) else {}

    def _refuse_too_many(self, items: Mapping[Any, Any]) -> None:
        if len(self._rows.keys() | items.keys()) > MOST_ITEMS:
            raise unavailable(
                "side_index_full",
                f"The side index may hold {MOST_ITEMS} items and holds {len(self._rows)}.",
                "Publish a release with the new items, then send the newer ones.",
                retry_after=60,
            )

    def _write(self, rows: Mapping[Any, Mapping[str, Any]], stamp: datetime) -> None:
        table = pa.Table.from_pylist(list(rows.values()), schema=self._schema)
        file = io.BytesIO()
        pq.write_table(table, file)
        name = f"{stamp:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"
        try:
            self._storage.write_folder(name, {File.ITEMS: file.getvalue()})
        except OSError as error:
            raise unavailable("not_stored", "The items could not be written.", "Try again later.", 30) from error
        self._read.add(name)


def age(side: SideItems) -> float:
    """Seconds since the newest upsert; 0 if there are no side items."""
    return time.time() - side.updated if side.ids else 0.0
