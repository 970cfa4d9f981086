"""Look-ups of users in the online store, within a bounded time and many users at once.

Feast and its stores are blocking code that may hang, so look-ups run on threads, and a request waits for them only for
a limited time. Most of the time of a look-up is spent in Feast, once per call. So one call reads many users: users that
arrive while all calls are busy are read together by the next call. At an idle service no user waits.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from serving.observability.metrics import Metrics
from two_tower.recommender.online_store import OnlineStore, Row, StoreError

TIMEOUT = 0.25  # seconds that a request waits for the store
THREADS = 8
CALLS = 1  # at a time: Feast holds the interpreter for most of a call, so more of them would only take turns
USERS = 64  # read by one call
WAITING = 512  # users that may wait for a call; one more is refused at once
HUNG_AFTER = 5.0  # seconds after which a call counts as lost, doubled up to HUNG_MOST while no call returns
HUNG_MOST = 60.0
OPENING = 10.0  # seconds to wait for the store's first answer when a release is opened
AGE_EVERY = 5.0  # seconds between two readings of the age of the features

Waiting = dict[str | int, list[asyncio.Future[Row | None]]]

log = logging.getLogger(__name__)


class Pool:
    """Daemon threads for blocking calls. A call that hangs delays neither a request nor the end of the process."""

    def __init__(self, threads: int = THREADS, name: str = "online-store") -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        for _ in range(threads):
            self.grow()

    def grow(self) -> None:
        """Start one more thread, in place of one that hangs."""
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run a call on one of the threads."""
        future: Future[Any] = Future()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - raised where the future is awaited
                future.set_exception(error)


class UserLookup:
    """Reads users from an online store for the requests of one event loop.

    Args:
        store: the online store.
        pool: threads for the blocking calls.
        metrics: where batch sizes and the age of the features are recorded.
    """

    def __init__(self, store: OnlineStore, pool: Pool, metrics: Metrics) -> None:
        self._store = store
        self._pool = pool
        self._metrics = metrics
        self._failing = False
        self._waiting: deque[tuple[str | int, asyncio.Future[Row | None]]] = deque()
        self._began: dict[object, float] = {}  # start time of each running call
        self._patience = HUNG_AFTER
        self._age_read = float("-inf")

    def open(self) -> None:
        """Read the registry and one row, so that no request pays for the first time.

        A store that cannot be read now is logged. Later look-ups try again; until then users get popular items.
        """
        try:
            self._pool.submit(self._store.read_any).result(OPENING)
        except Exception as error:  # noqa: BLE001 - stores raise errors of any type
            self._log_failure(error, OPENING)

    async def row(self, user_id: str | int) -> Row | None:
        """Read a user's raw features; None for a user that the store does not know. Raises StoreError."""
        loop = asyncio.get_running_loop()
        self._refuse_if_hopeless()
        future: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.append((user_id, future))
        self._start_calls(loop)
        timer = loop.call_later(TIMEOUT, _time_out, future)  # asyncio.wait_for costs several times as much
        try:
            row = await future
        except Exception as error:
            self._log_failure(error, TIMEOUT)
            raise StoreError(str(error)) from error
        finally:
            timer.cancel()
        if self._failing:
            self._failing = False
            self._patience = HUNG_AFTER
            log.info("the online store of %s responds again", self._store.repo)
        return row

    def _refuse_if_hopeless(self) -> None:
        """Raise StoreError at once if a look-up could only time out."""
        if len(self._waiting) >= WAITING:
            raise StoreError(f"{WAITING} look-ups are waiting already")
        now = time.monotonic()
        for call in [call for call, began in self._began.items() if now - began > self._patience]:
            del self._began[call]  # lost, with its thread
            self._pool.grow()
            self._patience = min(2 * self._patience, HUNG_MOST)
        if len(self._began) >= CALLS and all(now - began > TIMEOUT for began in self._began.values()):
            raise StoreError("it hangs")

    def _start_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start calls for the waiting users, up to CALLS at a time."""
        while self._waiting and len(self._began) < CALLS:
            users: Waiting = {}
            while self._waiting and len(users) < USERS:
                user_id, future = self._waiting.popleft()
                if not future.done():  # else it timed out while it waited
                    users.setdefault(user_id, []).append(future)
            if users:
                self._call(users, loop)

    def _call(self, users: Waiting, loop: asyncio.AbstractEventLoop) -> None:
        call, user_ids = object(), list(users)
        self._began[call] = time.monotonic()
        self._metrics.looked_up(len(user_ids))

        def finish(done: Future[Sequence[Row | None]]) -> None:
            self._began.pop(call, None)
            error = done.exception()
            rows = [None] * len(user_ids) if error else done.result()
            for user_id, row in zip(user_ids, rows, strict=True):
                for future in users[user_id]:
                    if future.done():
                        continue
                    if error:
                        future.set_exception(error)
                    else:
                        future.set_result(row)
            self._start_calls(loop)

        def hand_over(done: Future[Sequence[Row | None]]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, done)

        self._pool.submit(lambda: self._read(user_ids)).add_done_callback(hand_over)

    def _read(self, user_ids: Sequence[str | int]) -> Sequence[Row | None]:
        rows = self._store.read(user_ids)
        known = next((user for user, row in zip(user_ids, rows, strict=True) if row is not None), None)
        if known is not None and time.monotonic() > self._age_read + AGE_EVERY:
            self._age_read = time.monotonic()
            if newest := self._store.feature_time(known):
                self._metrics.feature_age.set(max(0.0, time.time() - newest.timestamp()))
        return rows

    def _log_failure(self, error: BaseException, waited: float) -> None:
        """Log the first of a series of failures only, so that a store that is down does not fill the disk."""
        if not self._failing:
            self._failing = True
            reason = f"no answer within {waited} s" if isinstance(error, TimeoutError) else repr(error)
            log.warning("the online store of %s fails, users get popular items: %s", self._store.repo, reason)


def _time_out(future: asyncio.Future[Row | None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
