"""All sections of a training run, and how values from a file or the command line reach them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from two_tower.config.deploy import DeployConfig
from two_tower.config.evaluation import EvaluationConfig
from two_tower.config.fields import FieldType, Value, field_types, unknown_setting
from two_tower.config.pull import PullConfig
from two_tower.config.report import ReportConfig
from two_tower.config.section import Section
from two_tower.config.train import TrainConfig
from two_tower.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All sections of a training run."""

    pull: PullConfig = field(default_factory=PullConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def sections(self) -> dict[str, Section]:
        """The sections by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def with_values(self, values: Mapping[str, Any]) -> "Settings":
        """Replace some fields by typed values, as a TOML file or Python gives them; see `with_values`."""
        return Settings(**with_values(self.sections(), values))

    def with_assignments(self, assignments: Sequence[str]) -> "Settings":
        """Replace some fields by KEY=VALUE texts, as `--set` gives them; see `with_assignments`."""
        return Settings(**with_assignments(self.sections(), assignments))


def with_values(sections: Mapping[str, Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put each value into the section that has a field of its name.

    Args:
        sections: The sections by name.
        values: Values by field name, each of the field's type.

    Returns:
        The new sections by name, those of `sections` with the values replaced.

    Raises:
        InputError: A name is unknown (the message gives the nearest one), or a value is not allowed.
    """
    return _replaced(sections, values, FieldType.validated)


def with_assignments(sections: Mapping[str, Section], assignments: Sequence[str]) -> dict[str, Any]:
    """Put each KEY=VALUE text into the section that has a field of that name, as `with_values` does.

    Raises:
        InputError: A text is not KEY=VALUE, or as for `with_values`.
    """
    return _replaced(sections, parse_assignments(assignments), FieldType.parsed)


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split the KEY=VALUE texts of `--set`. If a key occurs twice, the last value is used."""
    pairs = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set takes KEY=VALUE; got {text!r}.")
        pairs[key.strip()] = value.strip()
    return pairs


def _replaced(
    sections: Mapping[str, Section], values: Mapping[str, Any], read: Callable[[FieldType, str, Any], Value]
) -> dict[str, Any]:
    owners = {name: (section, kind) for section, s in sections.items() for name, kind in field_types(type(s)).items()}
    changes: dict[str, dict[str, Value]] = {section: {} for section in sections}
    for name, value in values.items():
        if name not in owners:
            raise unknown_setting(name, owners)
        section, kind = owners[name]
        changes[section][name] = read(kind, name, value)
    return {section: replace(s, **changes[section]) for section, s in sections.items()}
