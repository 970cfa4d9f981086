"""The side index: items that were added, changed or removed since the release was published.

Items are embedded by the release's item tower and searched in addition to its index. They are kept in the log of the
embedding space (`side_log`), so other replicas, a restarted service and a later release of the same space have them
too. A release of another embedding space starts without side items.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import ARROW_TYPES, arrow_schema
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.errors import invalid, not_found, unavailable
from two_tower.recommender.filters import Columns
from two_tower.recommender.side_items import NO_ITEMS, SideItems
from two_tower.recommender.side_log import SideLog
from two_tower.recommender.side_rows import KEEP, REMOVED, UPDATED, Newest, expiry, log_schema, seconds
from two_tower.recommender.tower import Tower
from two_tower.schema import EMBEDDING, POPULARITY, Contract
from two_tower.storage import open_storage

FOLDER = "side"
MOST_ITEMS = 10_000  # that one side index may hold, with the removed items of the catalogue
MERGE_AT = 8  # files of the log that a writer leaves; from 4 times as many any replica merges them
MERGE_FIRST_AT = 64  # files of the log from which an upsert merges them itself, because nothing else did
SETTLED = 24 * 3600  # seconds for which the log keeps a row that has no effect: another release may need it
KEEP_SECONDS = 30 * 24 * 3600.0  # default age limit of an upserted item
_MERGE_AGAIN = 60.0  # seconds from a failed merge to the next attempt; twice as many after each further failure
_MERGE_AGAIN_MOST = 24 * 3600.0

log = logging.getLogger(__name__)


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
        self._contract = contract
        self._tower = tower
        self._catalogue = catalogue
        self._key = contract.item_key
        self._names = [self._key, *(f.name for f in contract.item if f.name != self._key)]
        features = [f for f in arrow_schema(contract.item) if f.name != self._key]
        schema = log_schema(pa.field(self._key, ARROW_TYPES[contract.item_key_dtype]), features)
        storage = open_storage(f"{str(releases).rstrip('/')}/{FOLDER}/{embedding_space}")
        self._log = SideLog(storage, schema, tower.dim)
        self._newest = Newest(schema)
        self._equal: set[Any] = set()  # items whose newest row equals the catalogue's
        self._expiry = float("inf")  # when the next of `items` expires
        self._listable = True
        self._merge_after = 0.0  # monotonic time
        self._merge_wait = _MERGE_AGAIN
        self._wrote = False  # whether a file of the log may be from this replica
        self._lock = Lock()

    @property
    def unreadable(self) -> int:
        """Number of files that cannot be read; one more if they cannot be listed."""
        return self._log.unreadable + (not self._listable)

    def upsert(self, items: Mapping[Any, Mapping[str, Any]], now: float, keep: float = KEEP_SECONDS) -> int:
        """Embed and store items, and return the number of side items.

        Args:
            items: raw features by item id. A feature that is absent keeps its value.
            now: time of the upsert, seconds since 1970.
            keep: seconds until the items expire, from the time at which the storage has them.

        Raises:
            RequestError: 422 if an item cannot be embedded, 503 if the side index is full or cannot be written. Then
                nothing changes.
        """
        with self._lock:
            self._read_for_write()
            self._refuse_too_many(items)
            known = self._features(list(items))
            rows = [known[item] | dict(features) | self._id_feature(item) for item, features in items.items()]
            embeddings = self._tower.embed(rows, int(now))
            for item, embedding in zip(items, embeddings, strict=True):
                if not np.isfinite(embedding).all():
                    raise invalid(f"item {item!r:.60} has no finite embedding.", "Check for numbers far out of range.")
            common = {REMOVED: False, KEEP: int(keep)}
            self._write(
                [
                    row | common | {self._key: item, EMBEDDING: embedding}
                    for item, row, embedding in zip(items, rows, embeddings.tolist(), strict=True)
                ],
                now,
            )
            return len(self.items.ids)

    def remove(self, item: Any, now: float) -> int:
        """Remove an item, and return the number of side items.

        An item of the catalogue is not recommended any more by any release of this embedding space, until it is
        upserted again.

        Args:
            item: item id.
            now: time of the removal, seconds since 1970.

        Raises:
            RequestError: 404 if neither the catalogue nor the side index has the item, 503 if the side index is full
                or cannot be written. Then nothing changes.
        """
        with self._lock:
            self._read_for_write()
            place = self._catalogue.row_of.get(item)
            if item not in self.items.row_of and (place is None or place in self.items.removed):
                raise not_found(f"There is no item {item!r:.60}.", "Pass the id of an item that can be recommended.")
            if place is not None:
                self._refuse_too_many([item])
            self._write([{self._key: item, REMOVED: True}], now)
            return len(self.items.ids)

    def refresh(self) -> None:
        """Read what other replicas have written. What cannot be read is logged once, and read later."""
        with self._lock:
            try:
                self._read()
            except OSError as error:
                if self._listable:
                    log.error("the side index cannot be read: %s", error)
                self._listable = False

    def merge(self) -> None:
        """Merge the files of the log if there are many. A failure is logged, and a later call tries again."""
        with self._lock:
            old = self._merge(MERGE_AT if self._wrote else 4 * MERGE_AT)
        self._remove(old)

    def _read(self) -> None:
        tables = self._log.read()
        self._listable = True
        if tables:
            self._add(pa.concat_tables(tables), time.time())
            self._forget_needless()
        elif self._expiry <= time.time():
            self._publish(self.items.updated)

    def _read_for_write(self) -> None:
        """Read what the new rows are to replace, with a version that is newer than theirs."""
        try:
            self._read()
        except OSError as error:
            raise _not_stored() from error
        self._remove(self._merge(MERGE_FIRST_AT))

    def _write(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        table = pa.Table.from_pylist(rows, schema=self._newest.rows.schema)
        try:
            written = self._log.append(table)
        except OSError as error:
            raise _not_stored() from error
        self._wrote = True
        self._add(written, now)

    def _merge(self, most: int) -> list[str]:
        """Write one file if there are more than `most`, and return the names of the files to remove."""
        if self._log.files <= most or time.monotonic() < self._merge_after:
            return []
        self._forget_needless()
        try:
            old = self._log.merge(self._newest.rows)
        except OSError as error:
            self._delay_merge(error)
            return []
        self._wrote = False
        return old

    def _remove(self, old: list[str]) -> None:
        """Remove merged files, which needs no lock."""
        if not old:
            return
        try:
            self._log.remove(old)
            self._merge_wait = _MERGE_AGAIN
        except OSError as error:
            self._delay_merge(error)

    def _delay_merge(self, error: OSError) -> None:
        log.warning("the files of the side index cannot be merged: %s", error)
        self._merge_after = time.monotonic() + self._merge_wait
        self._merge_wait = min(2 * self._merge_wait, _MERGE_AGAIN_MOST)

    def _add(self, rows: pa.Table, now: float) -> None:
        """Add rows of the log, and replace the items."""
        added = self._newest.add(rows)
        if not len(added):
            return
        self._equal.difference_update(added[self._key].to_pylist())
        self._equal.update(self._as_in_catalogue(added.filter(pc.invert(added[REMOVED]))))
        self._publish(max(now if added[UPDATED].null_count else 0.0, self.items.updated))

    def _publish(self, updated: float) -> None:
        """Replace the items by those of the newest rows."""
        rows = self._newest.rows
        ids = rows[self._key].to_pylist()
        removed = rows[REMOVED].to_numpy()
        times = seconds(rows)
        expires = expiry(rows, times)
        live = ~removed & (expires > time.time()) & ~np.array([item in self._equal for item in ids], dtype=bool)
        self._expiry = float(expires[live].min(initial=np.inf))
        side = rows.filter(pa.array(live))
        row_of = self._catalogue.row_of.get
        gone = rows[self._key].filter(pa.array(removed)).to_pylist()
        hidden = [row for item in gone if (row := row_of(item)) is not None]
        ids = side[self._key].to_pylist()
        popularity = pa.array(np.zeros(len(ids)))
        self.items = SideItems(
            ids=ids,
            row_of={item: row for row, item in enumerate(ids)},
            embeddings=pc.list_flatten(side[EMBEDDING]).to_numpy().reshape(len(ids), -1 if ids else 0),
            columns=Columns(side.select(self._names).append_column(POPULARITY, popularity)),
            replaced=[row for item in ids if (row := row_of(item)) is not None] + hidden,
            removed=frozenset(hidden),
            updated=max(updated, float(times[np.isfinite(times)].max(initial=0.0))),
        )

    def _forget_needless(self) -> None:
        """Forget rows that are expired, and those that neither this release nor another one needs.

        They are chosen by the clock of the storage: a replica whose clock is wrong must not remove rows for all.
        """
        rows, now = self._newest.rows, self._log.now
        times = seconds(rows)
        settled = times < now - SETTLED
        if settled.any():
            in_catalogue, equal = self._catalogue.row_of, self._equal
            pairs = zip(rows[self._key].to_pylist(), rows[REMOVED].to_pylist(), strict=True)
            settled &= [item not in in_catalogue if removed else item in equal for item, removed in pairs]
        needless = settled | (expiry(rows, times) < now)
        if needless.any():
            self._newest.drop(pa.array(needless))
            self._equal.intersection_update(self._newest.rows[self._key].to_pylist())

    def _as_in_catalogue(self, rows: pa.Table) -> list[Any]:
        """Items that the catalogue holds with the same features."""
        items = rows[self._key].to_pylist()
        both = [row for row, item in enumerate(items) if item in self._catalogue.row_of]
        if not both:
            return []
        held = self._catalogue.features([self._catalogue.row_of[items[row]] for row in both])
        sent = rows.select([f.name for f in self._contract.item]).take(pa.array(both, pa.int64())).to_pylist()
        return [items[row] for row, one, other in zip(both, held, sent, strict=True) if one == other]

    def _features(self, items: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        """The stored features by item; all are missing if it is new."""
        names = [f.name for f in self._contract.item]
        side = [item for item in items if item in self.items.row_of]
        places = [self.items.row_of[item] for item in side]
        features = dict(zip(side, self.items.columns.rows(places) if side else [], strict=True))
        listed = [item for item in items if item not in features and item in self._catalogue.row_of]
        rows = [self._catalogue.row_of[item] for item in listed]
        features |= zip(listed, self._catalogue.features(rows) if rows else [], strict=True)
        return {item: {name: features.get(item, {}).get(name) for name in names} for item in items}

    def _id_feature(self, item: Any) -> dict[str, Any]:
        """The item's id as a feature, if the item tower takes it: no upsert may give an item the id of another."""
        return {self._key: item} if any(f.name == self._key for f in self._contract.item) else {}

    def _refuse_too_many(self, items: Sequence[Any] | Mapping[Any, Any]) -> None:
        row_of = self._catalogue.row_of
        more = [item for item in items if item not in self.items.row_of and row_of.get(item) not in self.items.removed]
        held = len(self.items.ids) + len(self.items.removed)
        if more and held + len(more) > MOST_ITEMS:
            raise unavailable(
                "side_index_full",
                f"The side index may hold {MOST_ITEMS} items and holds {held}.",
                "Remove items that were added (DELETE /v1/items/ID), or publish a release with the new items.",
                retry_after=60,
            )


def _not_stored() -> Exception:
    return unavailable("not_stored", "The items could not be written.", "Try again later.", 30)
