"""Convert errors of store clients, such as a refused connection, to `InputError`."""

from collections.abc import Iterator
from contextlib import contextmanager

import feast

from two_tower.errors import InputError

# Packages of the clients of registries and stores.
_CLIENTS = ("redis", "sqlalchemy", "psycopg", "psycopg_pool", "botocore", "google", "snowflake", "pymysql", "cassandra")
_UNREACHABLE = ("Operational", "Connection", "Timeout", "Unavailable", "BusyLoading")
_ANOTHER_VERSION = ("ProgrammingError", "DecodeError")  # tables, columns or messages that Feast does not expect


@contextmanager
def as_input_error(failure: str, next_step: str) -> Iterator[None]:
    """Convert an error of a store's client inside the block to an `InputError`. Other errors pass unchanged.

    Args:
        failure: The start of the message, such as "cannot read feature repository shop".
        next_step: The end of the message if the store cannot be reached: advice for the user.

    Raises:
        InputError: If the store cannot be reached, or another version of Feast wrote it.
    """
    try:
        yield
    except Exception as error:
        kind = type(error)
        if kind.__module__.split(".")[0] not in _CLIENTS:
            raise
        if kind.__name__ in _ANOTHER_VERSION:
            raise InputError(
                f"{failure}: another version of Feast than {feast.__version__} wrote the registry or the store "
                f"({_first_line(error)}). Install that version, or apply to a new registry."
            ) from error
        if not any(word in kind.__name__ for word in _UNREACHABLE):
            raise
        raise InputError(f"{failure}: the store cannot be reached ({_first_line(error)}). {next_step}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
