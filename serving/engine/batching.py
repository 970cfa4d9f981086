"""Micro-batching that costs nothing when idle: what is ready together runs together, and nobody waits for company."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Calls `run` with the queries that came in the same turn of the event loop, or while the last call ran.

    run: as many answers as queries, in their order; an exception among them is raised to the one who asked.
    most: queries of one call. threaded: whether a call runs on a thread, for one that takes longer than the hop there.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        most: int,
        threaded: bool,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._most = most
        self._threaded = threaded
        self._observe = observe
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._busy = False

    async def __call__(self, query: Q) -> A:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((query, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)
        return await future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(batch) < self._most:
            query, future = self._waiting.popleft()
            if not future.done():  # else given up while it waited
                batch.append((query, future))
        if not batch:
            self._busy = False
            return
        self._observe(len(batch))
        queries = [query for query, _ in batch]
        if self._threaded:
            running = loop.run_in_executor(None, self._answers, queries)
            running.add_done_callback(lambda done: self._answered(loop, batch, done.result()))
        else:
            self._answered(loop, batch, self._answers(queries))

    def _answers(self, queries: list[Q]) -> Sequence[A | Exception]:
        try:
            return self._run(queries)
        except Exception as error:  # noqa: BLE001 - it is for those who asked
            return [error] * len(queries)

    def _answered(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Q, asyncio.Future[A]]],
        answers: Sequence[A | Exception],
    ) -> None:
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if self._waiting:
            loop.call_soon(self._next, loop)
        else:
            self._busy = False
