"""A sample of the features of requests, written to disk, and their drift.

A request costs a random number and, if it is sampled, an append to a queue; a thread writes the rows and measures the
drift. Rows that arrive faster than they can be written are dropped and counted. The rows are personal data: only the
service's own account may read the files, and old ones are removed.
"""

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from serving.observability.metrics import Metrics
from two_tower.checks.drift import REQUEST_TIME, compare, log_schema
from two_tower.errors import InputError
from two_tower.inputs import table_from_rows
from two_tower.releases.release import Release
from two_tower.schema import Contract

EVERY = 10.0  # seconds between two files
LAST_WITHIN = 1.0  # seconds that the last file may take when the service ends
WAITING = 10_000  # rows that may wait to be written
COMPARED = 5_000  # newest rows of a release that drift is measured on

log = logging.getLogger(__name__)


class LogOptions(NamedTuple):
    """Options of the feature log.

    Attributes:
        folder: output folder; each release has its own folder in it.
        share: share of the requests to sample, above 0 and up to 1.
        keep_days: files are removed after this many days.
        keep_megabytes: the oldest files are removed beyond this many megabytes.
    """

    folder: Path
    share: float
    keep_days: float = 30.0
    keep_megabytes: float = 1000.0


class LoggedRelease(NamedTuple):
    """The release whose rows are logged. profile: reference profile of its users; None if there is none."""

    release: str
    contract: Contract
    profile: Mapping[str, Any] | None

    @classmethod
    def of(cls, release: Release) -> "LoggedRelease":
        """Read the profile of a release."""
        return cls(release.id, release.contract, release.profile("user"))


class FeatureLog:
    """Writes a sample of the features of requests as parquet files.

    Args:
        options: folder, share of the requests, and how much to keep.
        metrics: where rows and drift are recorded.
        every: seconds between two files.

    Raises:
        InputError: if the folder cannot be written to or the share is out of range.
    """

    def __init__(self, options: LogOptions, metrics: Metrics, every: float = EVERY) -> None:
        folder, share = options.folder, options.share
        if not 0 < share <= 1:
            raise InputError(f"share of the requests to log is {share}. Allowed: above 0 and up to 1.")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--feature-log {folder}: {error}. Pass a folder that the service may write to."
            ) from error
        self._options, self._folder, self._share = options, folder, share
        self._metrics, self._every = metrics, every
        self._rows: deque[tuple[LoggedRelease, Mapping[str, Any], int]] = deque(maxlen=WAITING)
        self._newest: tuple[str, pa.Table] | None = None
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="feature-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write the waiting rows, and end the thread."""
        self._stop.set()
        self._thread.join(LAST_WITHIN)

    def offer(self, logged: LoggedRelease, row: Mapping[str, Any]) -> None:
        """Sample a request's features. Costs less than a microsecond."""
        if random.random() < self._share:  # noqa: S311 - a sample, not a secret
            if len(self._rows) == WAITING:
                self._metrics.log_dropped.inc()
            self._rows.append((logged, row, int(time.time())))

    def _work(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._every)
            try:
                self._write()
                prune(self._options, time.time())
            except OSError as error:
                log.warning("the feature log cannot be written: %s", error)

    def _write(self) -> None:
        waiting: dict[str, list[tuple[LoggedRelease, Mapping[str, Any], int]]] = {}
        for _ in range(len(self._rows)):
            one = self._rows.popleft()
            waiting.setdefault(one[0].release, []).append(one)
        for release, rows in waiting.items():
            logged = rows[0][0]
            table = self._table(logged, rows)
            if table.num_rows:
                self._put(release, table)
                self._metrics.logged.inc(table.num_rows)
                self._compare(logged, table)

    def _table(self, logged: LoggedRelease, rows: list[tuple[LoggedRelease, Mapping[str, Any], int]]) -> pa.Table:
        """Rows as a table. A row that a tower would refuse is dropped and counted."""
        features = logged.contract.user
        try:
            table, times = table_from_rows([row for _, row, _ in rows], features), [moment for _, _, moment in rows]
        except InputError:
            if len(rows) == 1:
                self._metrics.log_dropped.inc()
                return log_schema(features).empty_table()
            return pa.concat_tables([self._table(logged, [one]) for one in rows])
        return table.append_column(pa.field(REQUEST_TIME, pa.int64()), pa.array(times, pa.int64()))

    def _put(self, release: str, table: pa.Table) -> None:
        """Write a file under a hidden name and rename it, so that readers never see half a file."""
        folder = self._folder / release
        folder.mkdir(mode=0o700, exist_ok=True)
        self._number += 1
        name = f"{time.time_ns()}-{os.getpid()}-{self._number}.parquet"
        (folder / f".{name}").touch(mode=0o600)
        pq.write_table(table, folder / f".{name}")
        (folder / f".{name}").rename(folder / name)

    def _compare(self, logged: LoggedRelease, table: pa.Table) -> None:
        """Measure the drift of the newest rows of the release that answered last."""
        if logged.profile is None:
            return
        if self._newest and self._newest[0] == logged.release:
            table = pa.concat_tables([self._newest[1], table])
        table = table.slice(max(0, table.num_rows - COMPARED))
        self._newest = logged.release, table
        for one in compare(logged.profile, table, logged.contract.user):
            if one.psi is not None:
                self._metrics.drift.labels(one.feature).set(one.psi)


def prune(options: LogOptions, now: float) -> None:
    """Remove the files of a feature log that are too old or too many. Other workers may do the same at the same time.

    Args:
        options: the folder, and how much to keep.
        now: seconds since 1970.

    Raises:
        OSError: if a file cannot be removed.
    """
    files = []
    for path in options.folder.glob("*/*.parquet"):  # also hidden ones, which a killed worker left
        with suppress(FileNotFoundError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    room = options.keep_megabytes * 1e6
    for written, size, path in sorted(files, reverse=True):
        room -= size
        if room < 0 or written < now - options.keep_days * 86400:
            path.unlink(missing_ok=True)
