"""Per-row values that depend on the user's full history, precomputed on disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.data.parts import Parts
from two_tower.data.pulled import EVENT_TIMESTAMP, Split
from two_tower.data.seen import Interactions, codes, known_until, weights
from two_tower.inputs import Array

ROW_COST = 250  # peak bytes for computing the values of one row, measured
DESCRIPTION, ITEMS, SEEN = "user_history.json", "items.parquet", "seen"
_BLOCK = 1 << 20  # rows counted at a time
_EVENT = np.dtype([("row", np.int64), ("user", np.int64), ("micros", np.int64), ("item", np.int32)])
_COLUMNS: dict[str, Any] = {"user": np.int64, "item": np.int32, "weight": np.float32}
_PAST: dict[str, Any] = {"repeated": np.bool_, "begin": np.int64, "length": np.int32}


@dataclass(frozen=True)
class UserHistory:
    """Memory-mapped files with a value for each row of training and validation.

    Attributes:
        user: (rows,) int64, the user key or, of text keys, its hash.
        item: (rows,) int32, codes: rows of `items`.
        weight: (rows,) float32.
        repeated: (rows,) bool, whether the user had interacted with the item before.
        begin: (rows,) int64, start of the items in `seen` that the user had seen before.
        length: (rows,) int32, number of these items.
        seen: (interactions,) int32, codes of the items of all users, by user, then time.
        items: The item keys, in order of first appearance.
    """

    user: Array
    item: Array
    weight: Array
    repeated: Array
    begin: Array
    length: Array
    seen: Array
    items: pa.Array

    def is_positive(self, rows: Array) -> Array:
        """Return whether rows are the first interaction of a user with an item, with a weight above 0; bool (rows,)."""
        return np.asarray(~self.repeated[rows] & (self.weight[rows] > 0))

    def count(self, end: int) -> Array:
        """Return the number of positives of each item before the row `end`, (items,) int64."""
        total = np.zeros(len(self.items), dtype=np.int64)
        for start in range(0, end, _BLOCK):
            rows = np.arange(start, min(end, start + _BLOCK))
            total += np.bincount(self.item[rows[self.is_positive(rows)]], minlength=len(self.items))
        return total

    @classmethod
    def read(cls, folder: Path) -> "UserHistory":
        described = json.loads((folder / DESCRIPTION).read_text())
        columns = {name: _mapped(folder / name, kind, described["rows"]) for name, kind in (_COLUMNS | _PAST).items()}
        items = pq.read_table(folder / ITEMS)["item"].combine_chunks()
        return cls(**columns, seen=_mapped(folder / SEEN, np.int32, described["seen"]), items=items)


def write_user_history(parts: Parts, folder: Path, memory: int) -> None:
    """Write the files of `UserHistory`, the description last.

    Rows are split by user into buckets that fit into memory, and each bucket is computed on its own. One key for each
    item stays in memory; all else is on disk, at most 61 bytes per row.

    Args:
        parts: The pull.
        folder: Output folder.
        memory: Bytes that a bucket may take.
    """
    buckets = -(-len(parts) * ROW_COST // memory)
    (folder / "buckets").mkdir(parents=True)
    items, rows = _distribute(parts, folder, buckets)
    bounds = parts.described.bounds
    past = {name: np.memmap(folder / name, kind, "w+", shape=(rows,)) for name, kind in _PAST.items()}
    size = 0
    with (folder / SEEN).open("wb") as seen:
        for bucket in range(buckets):
            file = folder / "buckets" / str(bucket)
            events = np.fromfile(file, _EVENT)
            if len(events):
                one = _interactions(events, items)
                begin, length = one.spans(np.arange(len(events)), until=known_until(one.micros, bounds))
                for name, values in (("repeated", one.repeated), ("begin", begin + size), ("length", length)):
                    past[name][events["row"]] = values
                one.first_items.astype(np.int32).tofile(seen)
                size += len(one.first_items)
            file.unlink()
    for column in past.values():
        column.flush()
    pq.write_table(pa.table({"item": items}), folder / ITEMS)
    (folder / DESCRIPTION).write_text(json.dumps({"rows": rows, "seen": size}))


def _interactions(events: Array, items: pa.Array) -> Interactions:
    users, user = np.unique(events["user"], return_inverse=True)
    weight = np.ones(len(events), np.float32)  # the repeats and the seen items do not depend on it
    return Interactions(user, events["item"].astype(np.int64), events["micros"], pa.array(users), items, weight)


def _distribute(parts: Parts, folder: Path, buckets: int) -> tuple[pa.Array, int]:
    """Write the columns and the buckets; return the item keys in order of first appearance and the number of rows."""
    items: pa.Array | None = None
    rows = 0
    files = [(folder / "buckets" / str(bucket)).open("wb") for bucket in range(buckets)]
    columns = {name: (folder / name).open("wb") for name in _COLUMNS}
    end = parts.spans[Split.VALIDATION][1]
    for number in parts.numbers(0, end):
        piece, first = parts.piece(number, ("interactions",)), parts.starts[number]
        rows_here = np.arange(min(piece.interactions.num_rows, end - first))
        table = piece.interactions.take(rows_here)
        keys = table[piece.contract.item_key]
        items = pc.unique(pa.chunked_array([*([items] if items is not None else []), *keys.chunks], keys.type))
        event = np.empty(len(rows_here), _EVENT)
        event["row"], event["item"] = first + rows_here, codes(keys, items)
        event["user"] = _numbers(table[piece.contract.user_key])
        event["micros"] = (
            table[EVENT_TIMESTAMP].cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64()).to_numpy()
        )
        values = {"user": event["user"], "item": event["item"], "weight": weights(table)}
        for name, kind in _COLUMNS.items():
            np.ascontiguousarray(values[name], kind).tofile(columns[name])
        bucket = event["user"] % buckets
        order = np.argsort(bucket, kind="stable")
        for one, some in enumerate(np.split(event[order], np.searchsorted(bucket[order], np.arange(1, buckets)))):
            some.tofile(files[one])
        rows += len(rows_here)
    for file in (*files, *columns.values()):
        file.close()
    return items if items is not None else pa.array([]), rows


def _numbers(keys: pa.ChunkedArray) -> Array:
    """Return integer keys as int64, and 64-bit hashes of others."""
    if pa.types.is_integer(keys.type):
        return np.asarray(keys.cast(pa.int64()).to_numpy())
    coded = keys.combine_chunks().dictionary_encode()
    hashed = np.array([mmh3.hash64(key)[0] for key in coded.dictionary.to_pylist()], dtype=np.int64)
    return hashed[coded.indices.to_numpy(zero_copy_only=False)]


def _mapped(path: Path, kind: Any, length: int) -> Array:
    return np.memmap(path, kind, "r", shape=(length,)) if length else np.zeros(0, kind)
