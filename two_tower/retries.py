"""Try again what ended because the connection to a store was lost, inside a step of a pipeline.

Kubeflow Pipelines 2.17 does not retry a step that exits with an error. Kubeflow retries a pod that its node lost, and
the step itself a lost connection. Nothing is tried again unless RETRY_SECONDS is set, so a command ends at once.
"""

import errno
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

RETRY_SECONDS = "TWO_TOWER_STORE_RETRY_SECONDS"  # how long a store may be away
_PAUSES = (1, 2, 4, 8, 16, 32, 60)  # seconds; the last one repeats
_LOST = {  # classes of Python and of the clients of stores, or their base classes
    "ConnectionError",
    "TimeoutError",
    "HTTPClientError",
    "ClientConnectionError",
    "ServiceUnavailable",
    "OperationalError",
}
_BUSY = (errno.EBUSY, errno.ETIMEDOUT, getattr(errno, "EREMOTEIO", errno.EIO))  # by s3fs, for 503 and 500
_REFUSED = ("auth", "does not exist", "permission denied")  # a connection error that another attempt would repeat
_GIVEN_UP = "_two_tower_given_up"

_P = ParamSpec("_P")
_T = TypeVar("_T")


def retried(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Call the function again, with growing pauses, while it ends because the connection to a store was lost.

    The function must be repeatable. After RETRY_SECONDS the last error passes.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        deadline = time.monotonic() + float(os.environ.get(RETRY_SECONDS) or 0)
        attempt = 0
        while True:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
                if not is_lost_connection(error):
                    raise
                if time.monotonic() + pause > deadline:
                    setattr(error, _GIVEN_UP, True)  # so that a caller that is retried itself does not begin again
                    raise
                sys.stderr.write(f"the connection to a store was lost; trying again in {pause} s: {error}\n")
            time.sleep(pause)
            attempt += 1

    return call


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, is a lost connection to a store that may come back."""
    chain = list(_causes(error))
    if any(hasattr(one, _GIVEN_UP) or _is_refused(one) for one in chain):
        return False
    return any(_is_lost(one) for one in chain)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_lost(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _LOST) or (isinstance(error, OSError) and error.errno in _BUSY)


def _is_refused(error: BaseException) -> bool:
    """Whether it is an error of a login, or of SQLite, which has no connection."""
    text = f"{type(error).__name__} {error}".lower()
    return type(error).__module__ == "sqlite3" or (_is_lost(error) and any(word in text for word in _REFUSED))
