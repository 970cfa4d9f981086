"""The search space: which settings of training vary, and over what. A small TOML file, checked before anything runs."""

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
# Where training runs and what it leaves is no matter of quality, and the best of several seeds is luck.
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
    """One of these values."""

    values: tuple[Value, ...]

    def __contains__(self, value: Value) -> bool:
        return value in self.values


@dataclass(frozen=True)
class Range:
    """A number from low to high, both possible; whole where `whole`; of even order of magnitude where `log`."""

    low: float
    high: float
    log: bool
    whole: bool

    def __contains__(self, value: Value) -> bool:
        return not isinstance(value, str) and self.low <= value <= self.high


Dimension = Choices | Range


@dataclass(frozen=True)
class Space:
    """The dimensions by the name of their setting, in the file's order."""

    dimensions: Mapping[str, Dimension]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError for a file that is not there or no TOML, and as `of` does."""
        try:
            described = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"search space {path}: {error}. Give a TOML file; {_FORM}.") from error
        return cls.of(described)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Raises InputError for an unknown name, with the nearest known one, and for values that training refuses."""
        if not described:
            raise InputError(f"the search space is empty. Name at least one setting and {_FORM}.")
        return cls({name: _dimension(name, value) for name, value in described.items()})

    def shared(self, config: TrainConfig) -> dict[str, Value]:
        """The values of a configuration that lie in this space."""
        return {name: value for name, d in self.dimensions.items() if (value := getattr(config, name)) in d}


def with_values(config: TrainConfig, values: Mapping[str, Value]) -> TrainConfig:
    """The configuration with these values; InputError where they are not allowed, or not together."""
    found: TrainConfig = settings.with_values({"train": config}, values)["train"]
    return found


def shown(value: Value) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _dimension(name: str, value: Any) -> Dimension:
    if name in FIXED:
        raise InputError(f"setting {name!r} is not searched. Set it for all trials: --set {name}=VALUE.")
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
        raise InputError(f"search space: {name} = {values}: name two different values or more, each once.")
    return Choices(read)


def _range(name: str, described: dict[str, Any]) -> Range:
    kind = TUNABLE[name]
    if kind not in (int, float):
        raise InputError(f"search space: {name} is no number and has no range. Give a list of its values.")
    for key in described:
        if key not in ("low", "high", "log"):
            raise unknown(f"key of the range of {name}", key, ("low", "high", "log"))
    low: Any = described.get("low")
    high: Any = described.get("high")
    log = described.get("log", False)
    if not (_is_number(low) and _is_number(high) and isinstance(log, bool)):
        raise InputError(f"search space: {name} = {described}: {_FORM}.")
    if not low < high or (log and low <= 0):
        above = "0 < low < high, for log" if log else "low < high"
        raise InputError(f"search space: {name}: low={low}, high={high}. Allowed: {above}.")
    for bound in (low, high):
        with_values(TrainConfig(), {name: bound})
    return Range(low, high, log, whole=kind is int)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
