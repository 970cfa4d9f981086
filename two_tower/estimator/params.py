"""Parameters of the estimator: the names of columns, `verbose`, and the settings of `--set`."""

from dataclasses import fields
from typing import Any, Self

from two_tower.config import EvaluationConfig, PullConfig, Section, TrainConfig
from two_tower.errors import unknown

COLUMNS = ("user_column", "item_column", "timestamp_column", "timestamp_format", "weight_column")
SECTIONS: tuple[type[Section], ...] = (PullConfig, TrainConfig, EvaluationConfig)
_DEFAULTS: dict[str, Any] = (
    dict.fromkeys(COLUMNS) | {"verbose": True} | {f.name: f.default for section in SECTIONS for f in fields(section)}
)


class Params:
    """Stores each parameter as an attribute, with the methods that `sklearn.base.clone` and a grid search call."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - part of scikit-learn's interface
        """Return all parameters and their values.

        Args:
            deep: Ignored, because the parameters do not contain other estimators.
        """
        return {name: getattr(self, name) for name in sorted(_DEFAULTS)}

    def set_params(self, **params: Any) -> Self:
        """Change parameters. They take effect at the next `fit`; a fitted model does not change.

        Returns:
            The estimator.

        Raises:
            InputError: A name is unknown (the message has the nearest known one), or a value has the wrong type or is
                out of range. No parameter is changed then.
        """
        for name in params:
            if name not in _DEFAULTS:
                raise unknown("parameter of TwoTowerRecommender", name, _DEFAULTS)
        current = {name: getattr(self, name, default) for name, default in _DEFAULTS.items()}
        sections(current | params)
        for name, value in (current | params).items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.get_params().items() if value != _DEFAULTS[name]}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def sections(params: dict[str, Any]) -> dict[type[Section], Any]:
    """The settings of each section. Raises InputError for a value of the wrong type or out of range."""
    return {section: section(**{f.name: params[f.name] for f in fields(section)}) for section in SECTIONS}
