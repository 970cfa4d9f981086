"""Micro-batching without a delay: queries that are ready together run together, and an idle service never waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


class Batcher(Generic[Q, R]):
    """Calls `run` with the queries that arrived in one turn of the event loop, or while the last call ran.

    Args:
        run: returns one result per query, in their order. An exception among them is raised to its caller.
        max_batch: largest number of queries in one call.
        threaded: run each call on a thread; worth it for calls that take longer than the switch to a thread.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Q]], Sequence[R | Exception]],
        *,
        max_batch: int,
        threaded: bool,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._threaded = threaded
        self._observe = observe
        self._waiting: deque[tuple[Q, asyncio.Future[R]]] = deque()
        self._busy = False

    async def __call__(self, query: Q) -> R:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((query, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)
        return await future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[tuple[Q, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._max_batch:
            query, future = self._waiting.popleft()
            if not future.done():  # else its caller gave up
                batch.append((query, future))
        if not batch:
            self._busy = False
            return
        self._observe(len(batch))
        queries = [query for query, _ in batch]
        if self._threaded:
            running = loop.run_in_executor(None, self._results, queries)
            running.add_done_callback(lambda done: self._finish(loop, batch, done.result()))
        else:
            self._finish(loop, batch, self._results(queries))

    def _results(self, queries: list[Q]) -> Sequence[R | Exception]:
        try:
            return self._run(queries)
        except Exception as error:  # noqa: BLE001 - raised to the callers
            return [error] * len(queries)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Q, asyncio.Future[R]]],
        results: Sequence[R | Exception],
    ) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._waiting:
            loop.call_soon(self._next, loop)
        else:
            self._busy = False
