"""A user's row from a Feast online store, within a bounded time.

Feast and its stores are blocking code that may hang, so each look-up runs on a thread that is waited for only so long.
The threads are daemons: one that hangs keeps neither a request nor the end of the process waiting.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml  # type: ignore[import-untyped]

from two_tower.online_config import online_config
from two_tower.schema import Contract, Dtype

TIMEOUT = 0.25  # seconds that a request waits for the store
THREADS = 8
WAITING = 64  # look-ups that may wait for a thread; one more is refused at once
OPENING = 30.0  # seconds that the opening of a release waits for the store's first answer
REOPEN_AFTER = 5.0  # seconds between two attempts to open a store

log = logging.getLogger(__name__)


class StoreError(Exception):
    """The online store failed, hung or is overloaded."""


class Pool:
    """A few daemon threads and a short queue, for blocking calls."""

    def __init__(self, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._waiting = waiting
        for number in range(threads):
            threading.Thread(target=self._work, name=f"online-store-{number}", daemon=True).start()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """The future result of a call. Raises StoreError where too many calls are waiting."""
        if self._calls.qsize() >= self._waiting:
            raise StoreError(f"{self._waiting} look-ups are waiting already")
        future: Future[Any] = Future()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue  # given up while it waited
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - whatever a store raises is for the one who waits
                future.set_exception(error)


class OnlineStore:
    """The online store of a Feast repository, or of a release's feature_store.yaml, which is read at once.

    Raises InputError where the folder holds no feature_store.yaml.
    """

    def __init__(self, repo: Path, contract: Contract, pool: Pool, timeout: float = TIMEOUT) -> None:
        self._repo = repo
        self._config = online_config(repo)
        self._contract = contract
        self._pool = pool
        self._timeout = timeout
        self._store: Any = None
        self._opening = threading.Lock()
        self._tried = float("-inf")
        self._failing = False

    def open(self) -> None:
        """Read the registry and a row, so that no request pays for the first time.

        A store that cannot be read now is logged; later look-ups try again, and users get popular items meanwhile.
        """
        anyone: str | int = 0 if self._contract.user_key_dtype == Dtype.INT64 else ""
        try:
            self._pool.submit(lambda: self._read(anyone)).result(OPENING)
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            self._failed(error, OPENING)

    async def row(self, user_id: str | int) -> Mapping[str, Any] | None:
        """A user's raw features; None for a user whom the store does not know. Raises StoreError."""
        try:
            future = asyncio.wrap_future(self._pool.submit(lambda: self._read(user_id)))
            row: Mapping[str, Any] | None = await asyncio.wait_for(future, self._timeout)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._failed(error, self._timeout)
            raise StoreError(str(error)) from error
        if self._failing:
            self._failing = False
            log.info("the online store of %s answers again", self._repo)
        return row

    def _read(self, user_id: str | int) -> Mapping[str, Any] | None:
        from two_tower.online import online_rows  # Feast takes seconds to import, and not every service has a store

        row: Mapping[str, Any] | None = online_rows(self._opened(), self._contract, [user_id])[0]
        return row

    def _opened(self) -> Any:
        if self._store is None:
            with self._opening:
                if self._store is None:
                    if time.monotonic() < self._tried + REOPEN_AFTER:
                        raise StoreError("it could not be opened a moment ago")
                    self._tried = time.monotonic()
                    self._store = _feature_store(self._config, self._repo)
        return self._store

    def _failed(self, error: Exception, waited: float) -> None:
        """Log the first failure of a row of them: a store that is down must not fill the disk."""
        if not self._failing:
            self._failing = True
            reason = f"no answer within {waited} s" if isinstance(error, TimeoutError) else repr(error)
            log.warning("the online store of %s fails, users get popular items: %s", self._repo, reason)


def _feature_store(config: str, repo: Path) -> Any:
    from feast import FeatureStore, RepoConfig

    settings = RepoConfig(**yaml.safe_load(os.path.expandvars(config)))
    settings.repo_path = repo
    return FeatureStore(config=settings)
