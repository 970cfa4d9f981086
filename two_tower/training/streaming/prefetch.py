"""Work that is done in the background while the results of the work before are used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def ahead(tasks: Iterable[Callable[[], _T]]) -> Iterator[_T]:
    """The result of each task in order; the next one is made by a thread meanwhile. At most three results are alive."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for task in tasks:
            following = pool.submit(task)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
