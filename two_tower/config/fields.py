"""Types of settings: which values a field accepts, checked alike from Python, JSON, TOML and the command line."""

import contextlib
import difflib
import math
import numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Protocol, Self, get_args, get_origin, get_type_hints

from two_tower.errors import InputError
from two_tower.plugins import is_reference, reference

Value = bool | int | float | str
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_WRONG = {
    bool: "is neither true nor false.",
    int: "is not a whole number.",
    float: "is not a finite number.",
    str: "is not text.",
}
_PLUGIN_FORM = "package.module:Name"


class Constraint(Protocol):
    """A rule on the values of one field, beyond their type. `str()` gives the allowed values in words."""

    def problem(self, value: Any) -> str:
        """Describe the error in a value of the right type, as the end of a sentence; empty if the value is allowed."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The range of a number. `at_least` and `at_most` are allowed themselves, `above` and `below` are not."""

    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def problem(self, value: float) -> str:
        inside = self.at_least <= value <= self.at_most and self.above < value < self.below
        return "" if inside else "is out of range."

    def __str__(self) -> str:
        if math.isfinite(self.at_least) and math.isfinite(self.at_most):
            return f"{self.at_least} to {self.at_most}"
        limits = ((f.name.replace("_", " "), getattr(self, f.name)) for f in fields(self))
        return " and ".join(f"{words} {limit}" for words, limit in limits if math.isfinite(limit))


class Choice:
    """One of several names; with `plugin`, also an object in an importable module, as `package.module:Name`."""

    def __init__(self, *names: str, plugin: bool = False) -> None:
        self.names, self.plugin = names, plugin

    def problem(self, value: str) -> str:
        if value in self.names or (self.plugin and is_reference(value)):
            return ""
        if self.plugin and ":" in value:
            return f"is not of the form {_PLUGIN_FORM}."
        return f"is not a known name.{_nearest(value, self.names)}"

    def __str__(self) -> str:
        return ", ".join(self.names) + (f" or {_PLUGIN_FORM}" if self.plugin else "")


@dataclass(frozen=True)
class Form:
    """Text that matches a regular expression. With `separated`, a list of such texts, separated by commas."""

    pattern: re.Pattern[str]
    words: str
    separated: bool = False

    def problem(self, value: str) -> str:
        if not self.separated:
            return "" if self.pattern.fullmatch(value) else "is not allowed."
        wrong = [part for part in split(value) if not self.pattern.fullmatch(part)]
        return f"is not allowed, because of {', '.join(map(shortened, wrong))}." if wrong else ""

    def __str__(self) -> str:
        return f"{self.words}, separated by commas" if self.separated else self.words


Count = Annotated[int, Bounds(at_least=1)]
Share = Annotated[float, Bounds(at_least=0, below=1)]
Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(at_least=0)]


@dataclass(frozen=True)
class FieldType:
    """The Python type of a setting and the rule on its values."""

    type: type[Value]
    constraint: Constraint | None = None

    @classmethod
    def of(cls, hint: Any) -> Self:
        """The type that an annotation declares: bool, int, float or str, a Literal, or Annotated with a Constraint."""
        constraint = None
        if get_origin(hint) is Annotated:
            hint, constraint = get_args(hint)
        if get_origin(hint) is Literal:
            return cls(str, Choice(*get_args(hint)))
        assert hint in _KINDS, hint
        return cls(hint, constraint)

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.constraint is None:
            return _KINDS[self.type]
        return f"{_KINDS[self.type]}, {self.constraint}" if self.type in (int, float) else str(self.constraint)

    def validated(self, name: str, value: object) -> Value:
        """Check a value from Python, JSON or TOML.

        A float field accepts integers, and numpy's numbers become Python's. Where a plug-in is allowed, a class or
        function becomes `package.module:Name`. Nothing else is converted.

        Args:
            name: The setting, for the message.
            value: Any object.

        Returns:
            The value as the field's own type.

        Raises:
            InputError: The value has another type, or the field does not allow it.
        """
        if isinstance(self.constraint, Choice) and self.constraint.plugin and callable(value):
            value = reference(value, name)
        converted = self._converted(value)
        if converted is None:
            raise self._error(name, value, _WRONG[self.type])
        if self.type is int and not -(2**63) <= converted < 2**63:
            raise self._error(name, value, "does not fit in 64 bits.")
        if self.constraint is not None and (problem := self.constraint.problem(converted)):
            raise self._error(name, converted, problem)
        return converted

    def parsed(self, name: str, text: str) -> Value:
        """Read a value from the text of `--set`, then check it.

        A whole number is written in digits: `3`, `-1` or `100_000`; `3.0` and `1e3` are numbers, but not whole ones.

        Raises:
            InputError: The text is not of the field's type, or the field does not allow its value.
        """
        return self.validated(name, self._read(text))

    def _read(self, text: str) -> object:
        """The value that a text stands for; the text itself if it is not of the field's type."""
        if self.type is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if self.type in (int, float) and text.isascii():
            with contextlib.suppress(ValueError):
                return self.type(text)
        return text

    def _converted(self, value: object) -> Any:
        """Convert a value to the field's type; None if the conversion would change it."""
        if isinstance(value, bool) or self.type is bool:
            return value if isinstance(value, bool) and self.type is bool else None
        if self.type is int and isinstance(value, numbers.Integral):
            return int(value)
        if self.type is float and isinstance(value, numbers.Real):
            try:
                number = float(value) + 0.0  # the sum turns -0.0 into 0.0
            except OverflowError:
                return None
            return number if math.isfinite(number) else None
        return value if self.type is str and isinstance(value, str) else None

    def _error(self, name: str, value: object, problem: str) -> InputError:
        return InputError(f"{name}={shortened(value)} {problem} Allowed: {self.allowed}.")


def field_types(section: type) -> dict[str, FieldType]:
    """The type of each field of a section, in the order of their declaration."""
    hints = get_type_hints(section, include_extras=True)
    return {f.name: FieldType.of(hints[f.name]) for f in fields(section)}


def unknown_setting(name: str, known: Iterable[str]) -> InputError:
    """An InputError for an unknown setting, with the nearest known name."""
    return InputError(f"unknown setting {name!r}.{_nearest(name, known)} `two-tower settings` lists all settings.")


def split(text: str) -> list[str]:
    """The values of a list that is separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def shortened(value: object) -> str:
    """A value for a message; long ones are cut."""
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to print the largest
        return f"(an integer of {value.bit_length()} bits)"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"
