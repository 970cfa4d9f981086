"""Settings of every step, checked once. Each step receives its own section as JSON and reruns only when that changes.

The name of a setting is unique over all sections, so `--set KEY=VALUE` does not name the section. The docstring under
each field is its documentation: `two-tower settings` prints it.
"""

from two_tower.config.deploy import DeployConfig
from two_tower.config.evaluation import EvaluationConfig
from two_tower.config.pull import PullConfig
from two_tower.config.report import ReportConfig
from two_tower.config.section import Section
from two_tower.config.settings import Settings, parse_assignments, with_assignments, with_values
from two_tower.config.train import TrainConfig

__all__ = [
    "DeployConfig",
    "EvaluationConfig",
    "PullConfig",
    "ReportConfig",
    "Section",
    "Settings",
    "TrainConfig",
    "parse_assignments",
    "with_assignments",
    "with_values",
]
