"""A section: the settings of one step, as a frozen dataclass that checks itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from two_tower.config.fields import field_types, shortened, unknown_setting
from two_tower.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Section:
    """The settings of one step. A subclass declares each field with its type, its bounds and a docstring under it.

    Raises:
        InputError: A value has the wrong type or is not allowed. The message names the field.
    """

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():
            object.__setattr__(self, name, kind.validated(name, getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Check the rules about several fields together. A subclass overrides this."""

    def require(self, condition: bool, name: str, allowed: str) -> None:
        """Raise an InputError about the field `name` unless the condition holds."""
        if not condition:
            raise InputError(f"{name}={shortened(getattr(self, name))} is not allowed here. Allowed: {allowed}.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make a section from values by field name; other fields keep their defaults.

        Raises:
            InputError: A name is unknown, or a value is not allowed.
        """
        known = field_types(cls)
        for name in values:
            if name not in known:
                raise unknown_setting(name, known)
        return cls(**values)

    def to_json(self) -> str:
        """The values as a JSON object, with sorted keys, so that equal sections give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; fields that are not in it keep their defaults.

        Raises:
            InputError: The text is not a JSON object, a name is unknown, or a value is not allowed.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError(f"{cls.__name__}={shortened(text)} is not JSON: {error}. Pass a JSON object.") from error
        if not isinstance(values, dict):
            raise InputError(f"{cls.__name__}={shortened(text)} is not a JSON object, such as {{}}.")
        return cls.of(values)
