"""Blocking calls of the storage on threads of their own, so that no other request waits for a storage that hangs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from serving.engine.user_lookup import Pool
from two_tower.recommender.errors import unavailable

T = TypeVar("T")
RETRY_AFTER = 5  # seconds, for a client whose call was refused


class StorageCalls:
    """Runs a few blocking calls at a time.

    Args:
        threads: calls at a time.
        waiting: calls that may wait for a thread; one more is refused.
        within: seconds that a request waits for its call.
    """

    def __init__(self, threads: int, waiting: int, within: float) -> None:
        self._pool = Pool(threads, name="storage")
        self._most = threads + waiting
        self._within = within
        self._pending: set[Future[Any]] = set()

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call on one of the threads, and return its result.

        Raises:
            RequestError: 503 if too many calls wait, if the call takes too long, or if it raises OSError. A call that
                takes too long is not stopped.
        """
        if len(self._pending) >= self._most:
            raise unavailable("storage_busy", f"{self._most} calls wait for the storage.", retry_after=RETRY_AFTER)
        loop, finished = asyncio.get_running_loop(), asyncio.Event()
        future: Future[T] = self._pool.submit(call)
        self._pending.add(future)

        def finish(done: Future[T]) -> None:
            self._pending.discard(done)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finished.set)

        future.add_done_callback(finish)
        try:
            async with asyncio.timeout(self._within):
                await finished.wait()
            return future.result()
        except TimeoutError as error:
            message = f"The storage did not respond within {self._within:g} s; the call may still take effect."
            raise unavailable("storage", message, retry_after=RETRY_AFTER) from error
        except OSError as error:
            raise unavailable("storage", f"The storage failed: {error!s:.300}.", retry_after=RETRY_AFTER) from error
