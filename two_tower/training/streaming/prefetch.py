"""Computes the next result in the background while the current one is used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def prefetch(tasks: Iterable[Callable[[], _T]]) -> Iterator[_T]:
    """Yield the result of each task in order; a thread computes the next one. At most three results are in memory."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for task in tasks:
            following = pool.submit(task)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
