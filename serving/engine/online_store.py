"""A user's row from a Feast online store, within a bounded time.

Feast and its stores are blocking code that may hang, so look-ups run on threads that are waited for only so long. Most
of a look-up is Feast's own work, which one call for many users shares: users who ask while the calls are busy are read
together by the next one, and at an idle service nobody waits.
"""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml  # type: ignore[import-untyped]

from serving.observability.metrics import Metrics
from two_tower.data.online_config import online_config
from two_tower.schema import Contract, Dtype

TIMEOUT = 0.25  # seconds that a request waits for the store
THREADS = 8
CALLS = 1  # at a time: Feast holds the interpreter for most of a call, so more of them would only take turns
USERS = 64  # read by one call
WAITING = 512  # users that may wait for a call; one more is refused at once
HUNG_AFTER = 5.0  # seconds after which a call is given up for lost, doubling up to HUNG_MOST while none answers
HUNG_MOST = 60.0
OPENING = 30.0  # seconds that the opening of a release waits for the store's first answer
REOPEN_AFTER = 5.0  # seconds between two attempts to open a store
AGE_EVERY = 5.0  # seconds between two looks at how old the features are

Row = Mapping[str, Any]

log = logging.getLogger(__name__)


class StoreError(Exception):
    """The online store failed, hung or is overloaded."""


class Pool:
    """Daemon threads for blocking calls: one that hangs keeps neither a request nor the end of the process waiting."""

    def __init__(self, threads: int = THREADS) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        for _ in range(threads):
            self.grow()

    def grow(self) -> None:
        """One thread more, in place of one that hangs."""
        threading.Thread(target=self._work, name="online-store", daemon=True).start()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - whatever a store raises is for the one who waits
                future.set_exception(error)


class OnlineStore:
    """The online store of a Feast repository, or of a release's feature_store.yaml, which is read at once.

    Raises InputError where the folder holds no feature_store.yaml.
    """

    def __init__(self, repo: Path, contract: Contract, pool: Pool, metrics: Metrics, timeout: float = TIMEOUT) -> None:
        self._repo = repo
        self._config = online_config(repo)
        self._contract = contract
        self._pool = pool
        self._metrics = metrics
        self._timeout = timeout
        self._store: Any = None
        self._opening = threading.Lock()
        self._tried = float("-inf")
        self._failing = False
        self._waiting: deque[tuple[str | int, asyncio.Future[Row | None]]] = deque()
        self._began: dict[object, float] = {}  # the calls that run, and when each began
        self._patience = HUNG_AFTER
        self._age_read = float("-inf")

    def open(self) -> None:
        """Read the registry and a row, so that no request pays for the first time.

        A store that cannot be read now is logged; later look-ups try again, and users get popular items meanwhile.
        """
        anyone: str | int = 0 if self._contract.user_key_dtype == Dtype.INT64 else ""
        try:
            self._pool.submit(lambda: self._read([anyone])).result(OPENING)
        except Exception as error:  # noqa: BLE001 - stores raise what they like
            self._failed(error, OPENING)

    async def row(self, user_id: str | int) -> Row | None:
        """A user's raw features; None for a user whom the store does not know. Raises StoreError."""
        loop = asyncio.get_running_loop()
        self._refuse_what_would_only_wait()
        future: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.append((user_id, future))
        self._next(loop)
        timer = loop.call_later(self._timeout, _too_late, future)  # asyncio.wait_for costs several times as much
        try:
            row = await future
        except Exception as error:
            self._failed(error, self._timeout)
            raise StoreError(str(error)) from error
        finally:
            timer.cancel()
        if self._failing:
            self._failing = False
            self._patience = HUNG_AFTER
            log.info("the online store of %s answers again", self._repo)
        return row

    def _refuse_what_would_only_wait(self) -> None:
        if len(self._waiting) >= WAITING:
            raise StoreError(f"{WAITING} look-ups are waiting already")
        now = time.monotonic()
        for call in [call for call, began in self._began.items() if now - began > self._patience]:
            del self._began[call]  # lost, with its thread
            self._pool.grow()
            self._patience = min(2 * self._patience, HUNG_MOST)
        if len(self._began) >= CALLS and all(now - began > self._timeout for began in self._began.values()):
            raise StoreError("it hangs")

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a call for those who wait, unless enough of them run."""
        while self._waiting and len(self._began) < CALLS:
            asked: dict[str | int, list[asyncio.Future[Row | None]]] = {}
            while self._waiting and len(asked) < USERS:
                user_id, future = self._waiting.popleft()
                if not future.done():  # else given up while it waited
                    asked.setdefault(user_id, []).append(future)
            if asked:
                self._call(asked, loop)

    def _call(
        self, asked: Mapping[str | int, list[asyncio.Future[Row | None]]], loop: asyncio.AbstractEventLoop
    ) -> None:
        call, users = object(), list(asked)
        self._began[call] = time.monotonic()
        self._metrics.looked_up(len(users))

        def answered(done: Future[Sequence[Row | None]]) -> None:
            self._began.pop(call, None)
            error = done.exception()
            rows = [None] * len(users) if error else done.result()
            for user_id, row in zip(users, rows, strict=True):
                for future in asked[user_id]:
                    if future.done():
                        continue
                    if error:
                        future.set_exception(error)
                    else:
                        future.set_result(row)
            self._next(loop)

        def hand_over(done: Future[Sequence[Row | None]]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(answered, done)

        self._pool.submit(lambda: self._read(users)).add_done_callback(hand_over)

    def _read(self, user_ids: Sequence[str | int]) -> Sequence[Row | None]:
        from two_tower.data.online import feature_time, online_rows  # Feast takes seconds to import

        store = self._opened()
        rows: Sequence[Row | None] = online_rows(store, self._contract, user_ids)
        known = next((user for user, row in zip(user_ids, rows, strict=True) if row is not None), None)
        if known is not None and time.monotonic() > self._age_read + AGE_EVERY:
            self._age_read = time.monotonic()
            if newest := feature_time(store, self._contract, known):
                self._metrics.feature_age.set(max(0.0, time.time() - newest.timestamp()))
        return rows

    def _opened(self) -> Any:
        if self._store is None:
            with self._opening:
                if self._store is None:
                    if time.monotonic() < self._tried + REOPEN_AFTER:
                        raise StoreError("it could not be opened a moment ago")
                    self._tried = time.monotonic()
                    self._store = _feature_store(self._config, self._repo)
        return self._store

    def _failed(self, error: BaseException, waited: float) -> None:
        """Log the first failure of a row of them: a store that is down must not fill the disk."""
        if not self._failing:
            self._failing = True
            reason = f"no answer within {waited} s" if isinstance(error, TimeoutError) else repr(error)
            log.warning("the online store of %s fails, users get popular items: %s", self._repo, reason)


def _too_late(future: asyncio.Future[Row | None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def _feature_store(config: str, repo: Path) -> Any:
    from feast import FeatureStore, RepoConfig

    settings = RepoConfig(**yaml.safe_load(os.path.expandvars(config)))
    settings.repo_path = repo
    return FeatureStore(config=settings)
