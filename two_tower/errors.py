"""Errors that speak to the person who runs the project."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input at an edge: a file, an argument, a row, a configuration.

    The message names the thing, the value, what is allowed, and the next step. The command line prints it without a
    traceback and exits with status 2.
    """


class GateHeldError(Exception):
    """A gate held the release back. The command line prints the reasons and exits with status 3."""


def unknown(what: str, value: str, allowed: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not among those allowed, with the nearest one as a suggestion."""
    names = sorted(str(name) for name in allowed)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {what} {value!r}.{hint} Allowed: {', '.join(names)}.")
