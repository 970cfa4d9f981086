"""The log of a side index in the storage of the releases: rows of items, of which the newest of each item counts.

Every change is one small file, and now and then the files are merged into one:

    <releases>/side/<embedding space>/<counter>-<random>.parquet

The storage orders the changes, not the clocks of the replicas. A writer lists the files, and its counter is the largest
one plus 1, so a change that starts after another is complete has the larger version (counter, random). Each row keeps
its version when it is merged. So reading a row twice changes nothing, any number of replicas can write and merge at the
same time, and no conditional write is needed. A merge writes the new file before it removes the old ones: a process
that is killed between the two leaves rows twice, and loses none.

Version 0.1 wrote one folder per change, <time>-<random>/items.parquet. Its rows come before those of the files, in the
order of their times.
"""

import io
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.releases.manifest import File
from two_tower.schema import EMBEDDING
from two_tower.storage import Storage

UPDATED = "two_tower_updated"  # column: when the row was written, by the clock of the storage; null: the file's time
KEEP = "two_tower_keep"  # column: seconds after `UPDATED` until the row expires; null: never
REMOVED = "two_tower_removed"  # column: whether the row removes the item
COUNTER, TIE = "two_tower_counter", "two_tower_tie"  # columns: the version of a row

_NAME = re.compile(r"(\d{16,18})-[0-9a-f]{16}\.parquet")
_READERS = 8  # files that are read at the same time
_LISTINGS = 3  # listings until a file that is listed and missing counts as unreadable
_LONGEST_WAIT = 60.0  # seconds between two attempts to read an unreadable file
_MOST_REMOVED = 1000  # files that one merge removes, so that its time is bounded

log = logging.getLogger(__name__)


def log_schema(key: pa.Field, features: Iterable[pa.Field]) -> pa.Schema:
    """Schema of the log's rows: key, features, time, expiry, version and embedding."""
    return pa.schema(
        [
            key,
            *features,
            (UPDATED, pa.timestamp("us", tz="UTC")),
            (KEEP, pa.int64()),
            (REMOVED, pa.bool_()),
            (COUNTER, pa.int64()),
            (TIE, pa.int64()),
            (EMBEDDING, pa.list_(pa.float32())),
        ]
    )


@dataclass
class _Retry:
    """When an unreadable file is read again: a monotonic time, and the seconds between the attempts."""

    at: float
    wait: float


class SideLog:
    """The log of one embedding space. Not thread-safe.

    Attributes:
        now: time of the newest file by the clock of the storage, seconds since 1970; 0 if there is none.

    Args:
        storage: the folder of the log.
        schema: schema of the rows, of `log_schema`.
        dim: width of an embedding.
    """

    def __init__(self, storage: Storage, schema: pa.Schema, dim: int) -> None:
        self.now = 0.0
        self._storage = storage
        self._schema = schema
        self._dim = dim
        self._counter = 0
        self._read: set[str] = set()  # files whose rows were returned
        self._own: dict[str, int] = {}  # tie of each file that was written here and not listed yet
        self._times: dict[int, float] = {}  # time of the files that were written here, by tie
        self._retries: dict[str, _Retry] = {}
        self._listed: dict[str, float | None] = {}  # the files of the last listing, with their times

    @property
    def files(self) -> int:
        """Number of files that a merge would replace by one."""
        return len(self._read)

    @property
    def unreadable(self) -> int:
        """Number of files that cannot be read."""
        return len(self._retries)

    def read(self) -> list[pa.Table]:
        """Read the files that were added since the last call.

        A file that is not readable is skipped, logged once, and read again later.

        Raises:
            OSError: if the files cannot be listed.
        """
        tables: list[pa.Table] = []
        for attempt in range(_LISTINGS):
            new = self._list()
            missing = []
            for name, result in zip(new, _parallel(self._load, new), strict=True):
                if isinstance(result, pa.Table):
                    tables.append(result)
                    self._read.add(name)
                    self._retries.pop(name, None)
                elif isinstance(result, FileNotFoundError) and attempt < _LISTINGS - 1:
                    missing.append(name)  # merged after it was listed, unless it is listed again
                else:
                    self._skip(name, result)
            if not missing:
                break
        return tables

    def append(self, rows: pa.Table) -> pa.Table:
        """Write rows as the newest of their items, and return them with their version. Call `read` before.

        Raises:
            OSError: if the file cannot be written.
        """
        counter, tie = self._counter + 1, secrets.randbits(62)
        for name, value in ((COUNTER, counter), (TIE, tie)):
            values = pa.array([value] * len(rows), pa.int64())
            rows = rows.set_column(rows.schema.get_field_index(name), name, values)
        self._own[self._write(counter, tie, rows)] = tie
        self._counter = counter
        return rows

    def merge(self, rows: pa.Table) -> None:
        """Replace the files that were read by one.

        Args:
            rows: the newest row of each item of these files, without those that are not needed any more.

        Raises:
            OSError: if the new file cannot be written or an old one cannot be removed. No row is lost then.
        """
        old = sorted(self._read, key=lambda name: (_is_file(name), name))[:_MOST_REMOVED]
        merged = self._write(self._counter, secrets.randbits(62), self._with_times(rows))
        self._read.add(merged)
        self._times.clear()
        self._storage.remove_files([_path(name) for name in old])
        self._read.difference_update(old)

    def _list(self) -> list[str]:
        """The files to read now."""
        times = {e.name: e.modified for e in self._storage.entries() if e.modified is None or _is_file(e.name)}
        self._counter = max([self._counter, *(int(name.partition("-")[0]) for name in times if _is_file(name))])
        self.now = max([self.now, *(modified for modified in times.values() if modified is not None)])
        self._listed = times
        for name, tie in self._own.items():
            if name in times:
                self._times[tie] = times[name] or self.now
                self._read.add(name)
        self._own.clear()  # a file that is not listed has been merged: its rows come with the merged file
        self._read &= times.keys()
        self._retries = {name: retry for name, retry in self._retries.items() if name in times}
        now = time.monotonic()
        return [n for n in times if n not in self._read and (n not in self._retries or self._retries[n].at <= now)]

    def _load(self, name: str) -> pa.Table | Exception:
        """The rows of a file, or the reason why it cannot be read."""
        try:
            table = pq.read_table(io.BytesIO(self._storage.read(_path(name))))
            table = table if _is_file(name) else self._of_folder(table)
            if not table.schema.equals(self._schema):
                raise pa.ArrowInvalid("its columns are not those of the release")
            widths = pc.if_else(table[REMOVED], self._dim, pc.list_value_length(table[EMBEDDING]))
            if table[0].null_count or not pc.all(pc.equal(widths, self._dim).fill_null(False)).as_py():
                raise pa.ArrowInvalid(f"a row has no id, or no embedding of {self._dim} numbers")
        except (OSError, pa.ArrowException) as error:
            return error
        modified = self._listed[name] or self.now
        return self._filled(table, pa.array([modified] * len(table)))

    def _of_folder(self, table: pa.Table) -> pa.Table:
        """Rows of version 0.1: their time is their version, and they do not expire."""
        rows = len(table)
        columns = {
            KEEP: pa.nulls(rows, pa.int64()),
            REMOVED: pa.array([False] * rows),
            COUNTER: pa.array([0] * rows, pa.int64()),
            TIE: table[UPDATED].cast(pa.int64()),
        }
        for name, values in columns.items():
            table = table.append_column(name, values)
        return table.select(self._schema.names)

    def _with_times(self, rows: pa.Table) -> pa.Table:
        """Rows with the times of the files that were written here, as another process reads them."""
        return self._filled(rows, pa.array([self._times.get(tie) for tie in rows[TIE].to_pylist()], pa.float64()))

    def _filled(self, rows: pa.Table, seconds: pa.Array) -> pa.Table:
        """Rows with a time where it is null: seconds since 1970 (rows,) float64."""
        times = pc.multiply(seconds, 1e6).cast(pa.int64(), safe=False).cast(self._schema.field(UPDATED).type)
        place = rows.schema.get_field_index(UPDATED)
        return rows.set_column(place, self._schema.field(UPDATED), pc.coalesce(rows[UPDATED], times))

    def _write(self, counter: int, tie: int, rows: pa.Table) -> str:
        file = io.BytesIO()
        pq.write_table(rows, file, use_dictionary=False, write_statistics=False)  # of one row, half of the time
        name = f"{counter:016d}-{tie:016x}.parquet"
        self._storage.write_file(name, file.getvalue())
        return name

    def _skip(self, name: str, error: Exception) -> None:
        retry = self._retries.get(name)
        if retry is None:
            log.error("file %s of the side index cannot be read and is skipped: %s", name, error)
        wait = 1.0 if retry is None else min(2 * retry.wait, _LONGEST_WAIT)
        self._retries[name] = _Retry(time.monotonic() + wait, wait)


class Newest:
    """The newest row of each item. Attribute rows: the rows, one per item.

    Args:
        schema: schema of the rows, of `log_schema`; the first column is the key.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows: pa.Table = schema.empty_table()
        self._key = schema.names[0]
        self._versions: dict[object, tuple[int, int]] = {}

    def add(self, rows: pa.Table) -> pa.Table:
        """Add rows, and return those that were not older than the row of their item."""
        newest: dict[object, int] = {}
        columns = (rows[name].to_pylist() for name in (self._key, COUNTER, TIE))
        for place, (item, *version) in enumerate(zip(*columns, strict=True)):
            if tuple(version) >= self._versions.get(item, (-1, 0)):
                self._versions[item] = tuple(version)
                newest[item] = place
        if len(newest) < len(rows):
            rows = rows.take(pa.array(list(newest.values()), pa.int64()))
        others = self.rows.filter(pc.invert(pc.is_in(self.rows[self._key], value_set=rows[self._key])))
        self.rows = pa.concat_tables([others, rows]).combine_chunks()
        return rows

    def drop(self, mask: pa.Array) -> None:
        """Forget the rows of a mask, (rows,) bool."""
        for item in self.rows[self._key].filter(mask).to_pylist():
            del self._versions[item]
        self.rows = self.rows.filter(pc.invert(mask))


def _is_file(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _path(name: str) -> str:
    return name if _is_file(name) else f"{name}/{File.ITEMS}"


def _parallel(load: Callable[[str], pa.Table | Exception], names: list[str]) -> list[pa.Table | Exception]:
    if len(names) < 2:
        return list(map(load, names))
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(load, names))
