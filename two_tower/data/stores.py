"""Stores that do not answer: the errors of their clients, told as what they are."""

from collections.abc import Iterator
from contextlib import contextmanager

import feast

from two_tower.errors import InputError

# Packages whose errors say that a store did not answer, or not as it should.
_CLIENTS = ("redis", "sqlalchemy", "psycopg", "psycopg_pool", "botocore", "google", "snowflake", "pymysql", "cassandra")
_UNREACHABLE = ("Operational", "Connection", "Timeout", "Unavailable", "BusyLoading")
_ANOTHER_VERSION = ("ProgrammingError", "DecodeError")  # tables, columns or messages that are not what Feast expects


@contextmanager
def told(doing: str, next_step: str) -> Iterator[None]:
    """Turn a store's error within the block into an InputError. Others, which are faults, pass."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        if kind.__module__.split(".")[0] not in _CLIENTS:
            raise
        if kind.__name__ in _ANOTHER_VERSION:
            raise InputError(
                f"{doing}: the registry or store was written by another version of Feast than {feast.__version__} "
                f"({_first_line(error)}). Install that version, or apply to a new registry."
            ) from error
        if not any(word in kind.__name__ for word in _UNREACHABLE):
            raise
        raise InputError(f"{doing}: the store cannot be reached ({_first_line(error)}). {next_step}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
