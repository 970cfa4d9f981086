"""Convert errors of store clients, such as a refused connection, to `InputError`."""

from collections.abc import Iterator
from contextlib import contextmanager

import feast
from feast.errors import FeastError
from pydantic import ValidationError

from two_tower.errors import InputError

# Packages of the clients of registries and stores.
_CLIENTS = (
    *("redis", "sqlalchemy", "psycopg", "psycopg_pool", "botocore", "google", "grpc", "requests"),
    *("snowflake", "pymysql", "cassandra"),
)
_UNREACHABLE = ("Operational", "Connection", "Timeout", "Unavailable", "BusyLoading", "RpcError", "RetryError")
_REFUSED = ("Credentials", "Auth", "Permission", "Forbidden", "NotFound", "ClientError")
_LONGEST = 400  # characters of an error of Feast or Python in a message
_ANOTHER_VERSION = ("ProgrammingError", "DecodeError")  # tables, columns or messages that Feast does not expect


@contextmanager
def as_input_error(failure: str, next_step: str) -> Iterator[None]:
    """Convert an error of a store's client inside the block to an `InputError`. Other errors pass unchanged.

    Args:
        failure: The start of the message, such as "cannot read feature repository shop".
        next_step: The end of the message if the store cannot be reached: advice for the user.

    Raises:
        InputError: If the store cannot be reached or refuses access, another version of Feast wrote it, or a package
            is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(f"{failure}: {reason(error)} Install the package.") from error
    except FeastError as error:
        raise InputError(f"{failure}: {reason(error)} {next_step}") from error
    except Exception as error:
        kind = type(error)
        if not is_of_client(error):
            raise
        if kind.__name__ in _ANOTHER_VERSION:
            raise InputError(
                f"{failure}: another version of Feast than {feast.__version__} wrote the registry or the store "
                f"({_first_line(error)}). Install that version, or apply to a new registry."
            ) from error
        if any(word in kind.__name__ for word in _REFUSED):
            raise InputError(f"{failure}: {reason(error)} Check the address and the credentials.") from error
        if not any(word in kind.__name__ for word in _UNREACHABLE):
            raise
        unreachable = f"the store cannot be reached ({reason(error).removesuffix('.')})"
        raise InputError(f"{failure}: {unreachable}. {next_step}") from error


def is_of_client(error: Exception) -> bool:
    """Return whether the package of a store's client raised the error."""
    return type(error).__module__.split(".")[0] in _CLIENTS


def reason(error: BaseException) -> str:
    """Return the type and the message of an error in one line that ends with a full stop."""
    validation = error if isinstance(error, ValidationError) else error.__context__
    if isinstance(validation, ValidationError):
        text = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in validation.errors())
    else:
        text = " ".join(f"{type(error).__name__}: {error}".split())
    return text[:_LONGEST].rstrip(".: ") + "."


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
