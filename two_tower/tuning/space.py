"""The search space: the training settings that vary, and their values. A TOML file, validated before any trial."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from two_tower import config as settings
from two_tower.config import TrainConfig
from two_tower.config.fields import field_types
from two_tower.errors import InputError, unknown

DEFAULT = Path(__file__).with_name("space.toml")
# These settings do not change the quality, except the seed, and the best of several seeds is chance.
FIXED = (
    "callbacks",
    "checkpoints",
    "checkpoint_seconds",
    "stream",
    "stream_megabytes",
    "compile",
    "mlflow",
    "device",
    "seed",
)
TUNABLE = {name: kind.type for name, kind in field_types(TrainConfig).items() if name not in FIXED}
_FORM = "give a list of values, such as [32, 64], or a range, such as {low = 0.001, high = 0.01, log = true}"

Value = str | int | float


@dataclass(frozen=True)
class Choices:
    """A list of values."""

    values: tuple[Value, ...]

    def __contains__(self, value: Value) -> bool:
        return value in self.values


@dataclass(frozen=True)
class Range:
    """A range of numbers.

    Attributes:
        low: Lower bound, included.
        high: Upper bound, included.
        log: Whether values are drawn uniformly on a logarithmic scale.
        whole: Whether values are integers.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def __contains__(self, value: Value) -> bool:
        return not isinstance(value, str) and self.low <= value <= self.high


Dimension = Choices | Range


@dataclass(frozen=True)
class Space:
    """The dimension of each searched setting, in the order of the file."""

    dimensions: Mapping[str, Dimension]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a search space.

        Args:
            path: TOML file.

        Returns:
            The space.

        Raises:
            InputError: The file does not exist or is not TOML, or as for `of`.
        """
        try:
            space = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"search space {path}: {error}. Give a TOML file; {_FORM}.") from error
        return cls.of(space)

    @classmethod
    def of(cls, space: Mapping[str, Any]) -> Self:
        """Validate a search space.

        Args:
            space: For each setting a list of values, or a range with `low`, `high` and optionally `log`.

        Returns:
            The space.

        Raises:
            InputError: A setting is unknown, or training does not accept a value.
        """
        if not space:
            raise InputError(f"the search space is empty. Name at least one setting and {_FORM}.")
        return cls({name: _dimension(name, value) for name, value in space.items()})

    def shared(self, config: TrainConfig) -> dict[str, Value]:
        """Return the values of a configuration that are in this space."""
        return {name: value for name, d in self.dimensions.items() if (value := getattr(config, name)) in d}


def with_values(config: TrainConfig, values: Mapping[str, Value]) -> TrainConfig:
    """Change values of a configuration.

    Args:
        config: Configuration to start from.
        values: New values.

    Returns:
        The changed configuration.

    Raises:
        InputError: A value, or a combination of values, is not allowed.
    """
    changed: TrainConfig = settings.with_values({"train": config}, values)["train"]
    return changed


def format_value(value: Value) -> str:
    """Format a value for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _dimension(name: str, value: Any) -> Dimension:
    if name in FIXED:
        raise InputError(f"setting {name!r} cannot be searched. Set it for all trials: --set {name}=VALUE.")
    if name not in TUNABLE:
        raise unknown("setting in the search space", name, TUNABLE)
    if isinstance(value, list):
        return _choices(name, value)
    if isinstance(value, dict):
        return _range(name, value)
    raise InputError(f"search space: {name} = {value!r}: {_FORM}.")


def _choices(name: str, values: list[Any]) -> Choices:
    read = tuple(getattr(with_values(TrainConfig(), {name: value}), name) for value in values)
    if len(set(read)) < 2 or len(set(read)) < len(read):
        raise InputError(f"search space: {name} = {values}: give at least two different values, each once.")
    return Choices(read)


def _range(name: str, bounds: dict[str, Any]) -> Range:
    kind = TUNABLE[name]
    if kind not in (int, float):
        raise InputError(f"search space: {name} is not a number, so it cannot have a range. Give a list of its values.")
    for key in bounds:
        if key not in ("low", "high", "log"):
            raise unknown(f"key of the range of {name}", key, ("low", "high", "log"))
    low: Any = bounds.get("low")
    high: Any = bounds.get("high")
    log = bounds.get("log", False)
    if not (_is_number(low) and _is_number(high) and isinstance(log, bool)):
        raise InputError(f"search space: {name} = {bounds}: {_FORM}.")
    if not low < high or (log and low <= 0):
        allowed = "0 < low < high, for log" if log else "low < high"
        raise InputError(f"search space: {name}: low={low}, high={high}. Allowed: {allowed}.")
    for bound in (low, high):
        with_values(TrainConfig(), {name: bound})
    return Range(low, high, log, whole=kind is int)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
