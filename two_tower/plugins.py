"""Implementations that a setting names: a built-in one by its name, a user's own as `package.module:Name`."""

import importlib
import inspect
import keyword
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, TypeVar

from two_tower.errors import InputError, unknown

_NAME = r"[^\W\d]\w*"
PLUGIN = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")

_T = TypeVar("_T")


def is_reference(text: str) -> bool:
    """Whether a text has the form `package.module:Name`, and so names a plug-in."""
    return bool(PLUGIN.fullmatch(text)) and not any(map(keyword.iskeyword, re.split("[.:]", text)))


def load(reference: str, kind: str) -> Any:
    """Import the object that `package.module:Name` names.

    Args:
        reference: `package.module:Name`; the name may be dotted, as a class inside a class is.
        kind: Setting or tag that has the value, for the message.

    Raises:
        InputError: The module cannot be imported, or has no such attribute.
    """
    module, _, path = reference.partition(":")
    try:
        target = importlib.import_module(module)
    except Exception as error:
        raise InputError(
            f"{kind}={reference}: importing {module!r} failed: {type(error).__name__}: {error}. "
            "Install its package in this environment, or correct the name."
        ) from error
    for name in path.split("."):
        if not hasattr(target, name):
            public = [n for n, value in vars(target).items() if getattr(value, "__module__", "") == module]
            raise InputError(f"{kind}={reference}: {unknown('attribute', name, public)}")
        target = getattr(target, name)
    return target


def reference(plugin: object, kind: str) -> str:
    """Return the `package.module:Name` by which a class or function can be imported again.

    Args:
        plugin: Class or function, defined at the top level of a module.
        kind: Setting that it is given for, for the message.

    Raises:
        InputError: The object cannot be imported by its name, as one that is defined inside a function cannot be.
    """
    text = f"{getattr(plugin, '__module__', '')}:{getattr(plugin, '__qualname__', '')}"
    if not is_reference(text) or load(text, kind) is not plugin:
        raise InputError(
            f"{kind}={plugin!r} cannot be recorded, because it cannot be imported by a name. "
            "Define a class or function at the top level of a module, or pass 'package.module:Name'."
        )
    return text


class Registry(Collection[str], Generic[_T]):
    """The built-in implementations of one kind by name; the names are iterated in order of registration."""

    def __init__(self, kind: str, *parameters: str) -> None:
        """Start empty.

        Args:
            kind: Name of the setting that selects an implementation.
            parameters: Names of the positional arguments that an implementation is called with.
        """
        self.kind, self.parameters = kind, parameters
        self._entries: dict[str, _T] = {}

    def register(self, name: str) -> Callable[[_T], _T]:
        """Return a decorator that registers an implementation under a name."""

        def add(entry: _T) -> _T:
            assert name not in self._entries, name
            self._entries[name] = entry
            return entry

        return add

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> _T:
        """Return a registered implementation, or import the one that `package.module:Name` names.

        Raises:
            InputError: The name is unknown, the import fails, or the imported object cannot be called with this
                kind's parameters.
        """
        if name in self._entries:
            return self._entries[name]
        if not is_reference(name):
            raise unknown(self.kind, name, (*self._entries, "package.module:Name"))
        plugin: _T = load(name, self.kind)
        check_parameters(plugin, self.parameters, f"{self.kind}={name}")
        return plugin


def check_parameters(plugin: object, parameters: tuple[str, ...], label: str) -> None:
    """Raise InputError unless an object can be called with these positional arguments."""
    if not callable(plugin):
        raise InputError(f"{label} is not callable. It must be a class or function of ({', '.join(parameters)}).")
    try:
        inspect.signature(plugin).bind(*parameters)
    except TypeError as error:
        raise InputError(f"{label} cannot be called with ({', '.join(parameters)}): {error}.") from error


def violation(label: str, kind: str, rule: str) -> InputError:
    """Return the error for a plug-in that breaks its protocol.

    Args:
        label: Name of the plug-in.
        kind: Kind of the plug-in, such as "a loss".
        rule: The broken rule, as a sentence.
    """
    return InputError(f"{label} does not follow the protocol of {kind}: {rule} See docs/extending.md.")
