"""Of each training row what only the whole time line tells, worked out and kept on disk."""

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
from two_tower.data.seen import Interactions, codes
from two_tower.inputs import Array
from two_tower.training.sampling.batches import weights

ROW_COST = 250  # bytes that working out a row's past takes at its peak, measured
DESCRIPTION, ITEMS = "ledger.json", "items.parquet"
_BLOCK = 1 << 20  # rows looked at at a time
_EVENT = np.dtype([("row", np.int64), ("user", np.int64), ("micros", np.int64), ("item", np.int32)])
_COLUMNS: dict[str, Any] = {"user": np.int64, "item": np.int32, "weight": np.float32}
_PAST: dict[str, Any] = {"repeated": np.bool_, "begin": np.int64, "length": np.int32}


@dataclass(frozen=True)
class Ledger:
    """Files that are mapped into memory, each with an element a row of training and validation, but for `taken`.

    user: a number of 64 bits that is the user's (of text keys, a hash). item: codes, int32, rows of `items`.
    weight: float32. repeated: whether the user took the item before. taken: the items of all users, by user, then
    time; `begin` and `length` say where those lie that a row's user had taken before. int32, int64 and int32.
    """

    user: Array
    item: Array
    weight: Array
    repeated: Array
    begin: Array
    length: Array
    taken: Array
    items: pa.Array

    def kept(self, rows: Array) -> Array:
        """Whether rows are positives: the first interaction of its user and item, with a weight above 0."""
        return np.asarray(~self.repeated[rows] & (self.weight[rows] > 0))

    def count(self, end: int) -> Array:
        """How many positives each item has before the row `end`, int64 [items]."""
        total = np.zeros(len(self.items), dtype=np.int64)
        for start in range(0, end, _BLOCK):
            rows = np.arange(start, min(end, start + _BLOCK))
            total += np.bincount(self.item[rows[self.kept(rows)]], minlength=len(self.items))
        return total

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        said = json.loads((folder / DESCRIPTION).read_text())
        columns = {name: _mapped(folder / name, kind, said["rows"]) for name, kind in (_COLUMNS | _PAST).items()}
        items = pq.read_table(folder / ITEMS)["item"].combine_chunks()
        return cls(**columns, taken=_mapped(folder / "taken", np.int32, said["taken"]), items=items)


def write_ledger(parts: Parts, folder: Path, memory: int) -> None:
    """Split the rows by user into buckets that fit `memory`, bytes, and work out each bucket by itself.

    What grows with the data in memory is one key for each item; all else is on disk, 61 bytes a row at most. The
    description comes last, when all is there.
    """
    buckets = -(-len(parts) * ROW_COST // memory)
    (folder / "buckets").mkdir(parents=True)
    items, rows = _distribute(parts, folder, buckets)
    past = {name: np.memmap(folder / name, kind, "w+", shape=(rows,)) for name, kind in _PAST.items()}
    size = 0
    with (folder / "taken").open("wb") as taken:
        for bucket in range(buckets):
            file = folder / "buckets" / str(bucket)
            events = np.fromfile(file, _EVENT)
            if len(events):
                one = _interactions(events, items)
                begin, length = one.spans(np.arange(len(events)))
                for name, values in (("repeated", one.repeated), ("begin", begin + size), ("length", length)):
                    past[name][events["row"]] = values
                one.taken.astype(np.int32).tofile(taken)
                size += len(one.taken)
            file.unlink()
    for column in past.values():
        column.flush()
    pq.write_table(pa.table({"item": items}), folder / ITEMS)
    (folder / DESCRIPTION).write_text(json.dumps({"rows": rows, "taken": size}))


def _interactions(events: Array, items: pa.Array) -> Interactions:
    users, user = np.unique(events["user"], return_inverse=True)
    return Interactions(user, events["item"].astype(np.int64), events["micros"], pa.array(users), items)


def _distribute(parts: Parts, folder: Path, buckets: int) -> tuple[pa.Array, int]:
    """Write the columns and the buckets; returns the keys of the items, in order of first appearance, and the rows."""
    items: pa.Array | None = None
    rows = 0
    files = [(folder / "buckets" / str(bucket)).open("wb") for bucket in range(buckets)]
    columns = {name: (folder / name).open("wb") for name in _COLUMNS}
    end = parts.spans[Split.VALIDATION][1]
    for number in parts.numbers(0, end):
        piece, first = parts.piece(number, ("interactions",)), parts.starts[number]
        here = np.arange(min(piece.interactions.num_rows, end - first))
        table = piece.interactions.take(here)
        keys = table[piece.contract.item_key]
        items = pc.unique(pa.chunked_array([*([items] if items is not None else []), *keys.chunks], keys.type))
        event = np.empty(len(here), _EVENT)
        event["row"], event["item"] = first + here, codes(keys, items)
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
        rows += len(here)
    for file in (*files, *columns.values()):
        file.close()
    return items if items is not None else pa.array([]), rows


def _numbers(keys: pa.ChunkedArray) -> Array:
    """From keys to numbers of 64 bits: those of whole numbers are themselves."""
    if pa.types.is_integer(keys.type):
        return np.asarray(keys.cast(pa.int64()).to_numpy())
    coded = keys.combine_chunks().dictionary_encode()
    hashed = np.array([mmh3.hash64(key)[0] for key in coded.dictionary.to_pylist()], dtype=np.int64)
    return hashed[coded.indices.to_numpy(zero_copy_only=False)]


def _mapped(path: Path, kind: Any, length: int) -> Array:
    return np.memmap(path, kind, "r", shape=(length,)) if length else np.zeros(0, kind)
