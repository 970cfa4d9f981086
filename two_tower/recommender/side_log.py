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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.recommender.side_rows import COUNTER, KEEP, REMOVED, TIE, UPDATED
from two_tower.releases.manifest import File
from two_tower.schema import EMBEDDING
from two_tower.storage import Storage, StorageError

_NAME = re.compile(r"(\d{16,18})-[0-9a-f]{16}\.parquet")
_READERS = 8  # files that are read at the same time
_LISTINGS = 3  # listings until a file that is listed and missing counts as unreadable
_LONGEST_WAIT = 60.0  # seconds between two attempts to read an unreadable file
_MOST_REMOVED = 500  # files that one merge removes, so that its time is bounded

log = logging.getLogger(__name__)


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
        schema: schema of the rows, of `side_rows.log_schema`.
        dim: width of an embedding.
    """

    def __init__(self, storage: Storage, schema: pa.Schema, dim: int) -> None:
        self.now = 0.0
        self._storage = storage
        self._schema = schema
        self._folder_schema = pa.schema([f for f in schema if f.name not in (KEEP, REMOVED, COUNTER, TIE)])
        self._dim = dim
        self._counter = 0
        self._read: set[str] = set()  # files whose rows were returned
        self._merged: set[str] = set()  # those of them that are to be removed
        self._own: dict[str, int] = {}  # tie of each file that was written here and not listed yet
        self._times: dict[int, float] = {}  # time of the files that were written here, by tie
        self._retries: dict[str, _Retry] = {}
        self._listed: dict[str, float | None] = {}  # the files of the last listing, with their times

    @property
    def files(self) -> int:
        """Number of files that a merge would replace by one."""
        return len(self._read - self._merged)

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

    def merge(self, rows: pa.Table) -> list[str]:
        """Write one file in the place of those that were read, and return the names to `remove`.

        Args:
            rows: the newest row of each item of these files, without those that are not needed any more.

        Raises:
            OSError: if the file cannot be written.
        """
        old = sorted(self._read, key=lambda name: (_is_file(name), name))[:_MOST_REMOVED]
        self._read.add(self._write(self._counter, secrets.randbits(62), self._with_times(rows)))
        self._merged.update(old)
        self._times.clear()
        return old

    def remove(self, old: list[str]) -> None:
        """Remove merged files. May run on another thread, beside all other methods.

        Raises:
            OSError: if a file was not removed. The next merge tries again.
        """
        self._storage.remove_files([_path(name) for name in old])
        left = {entry.name for entry in self._storage.entries()}.intersection(old)  # s3fs ignores what S3 refuses
        if left:
            raise StorageError(
                f"{len(left)} files were not removed, such as {min(left)}. Allow deletes in this folder."
            )

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
        self._merged &= times.keys()
        self._retries = {name: retry for name, retry in self._retries.items() if name in times}
        now = time.monotonic()
        return [n for n in times if n not in self._read and (n not in self._retries or self._retries[n].at <= now)]

    def _load(self, name: str) -> pa.Table | Exception:
        """The rows of a file, or the reason why it cannot be read."""
        try:
            content = io.BytesIO(self._storage.read(_path(name)))
            table = pq.read_table(content, page_checksum_verification=True)
            table.validate(full=True)
            if not table.schema.equals(self._schema if _is_file(name) else self._folder_schema):
                raise pa.ArrowInvalid("its columns are not those of the release")
            table = table if _is_file(name) else self._of_folder(table)
            widths = pc.if_else(table[REMOVED], self._dim, pc.list_value_length(table[EMBEDDING]))
            if not pc.all(pc.equal(widths, self._dim).fill_null(False)).as_py():
                raise pa.ArrowInvalid(f"a row has no embedding of {self._dim} numbers")
            if any(table[one].null_count for one in (self._schema.names[0], REMOVED, COUNTER, TIE)):
                raise pa.ArrowInvalid("a row has no id or no version")
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
        quick = {"use_dictionary": False, "write_statistics": False}  # for one row, half of the time
        pq.write_table(rows, file, write_page_checksum=True, **quick)
        name = f"{counter:016d}-{tie:016x}.parquet"
        self._storage.write_file(name, file.getvalue())
        return name

    def _skip(self, name: str, error: Exception) -> None:
        retry = self._retries.get(name)
        if retry is None:
            log.error("file %s of the side index cannot be read and is skipped: %s", name, error)
        wait = 1.0 if retry is None else min(2 * retry.wait, _LONGEST_WAIT)
        self._retries[name] = _Retry(time.monotonic() + wait, wait)


def _is_file(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _path(name: str) -> str:
    return name if _is_file(name) else f"{name}/{File.ITEMS}"


def _parallel(load: Callable[[str], pa.Table | Exception], names: list[str]) -> list[pa.Table | Exception]:
    if len(names) < 2:
        return list(map(load, names))
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(load, names))
