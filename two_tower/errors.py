"""Exceptions for bad input and for gates that hold a release."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from outside: a file, an argument, a row, or a setting.

    The message names the input, its value, the allowed values, and the next step. The command line prints the message
    without a traceback and exits with status 2.
    """


class GateHeldError(Exception):
    """A gate held the release. The command line prints the reasons and exits with status 3."""


class StorageError(OSError):
    """An object store is not reachable, or refuses access. The message names it and what to check."""


class ConflictError(StorageError):
    """Another process has changed a file since it was read."""


def unknown(kind: str, value: str, allowed: Iterable[str]) -> InputError:
    """Make the error for a name that is not allowed; the message suggests the closest allowed name.

    Args:
        kind: Kind of the named thing, such as "data set".
        value: The unknown name.
        allowed: All allowed names.

    Returns:
        The exception, for the caller to raise.
    """
    names = sorted(str(name) for name in allowed)
    closest = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean {closest[0]!r}?" if closest else ""
    return InputError(f"unknown {kind} {value!r}.{hint} Allowed: {', '.join(names)}.")
