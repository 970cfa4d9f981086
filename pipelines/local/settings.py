"""The settings of a run on this machine: defaults, then the repository's two_tower.toml, then the command line."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from pipelines.kubeflow.cluster import ClusterConfig
from two_tower.config import Settings, parse_assignments
from two_tower.config.fields import field_types
from two_tower.errors import InputError

SETTINGS_FILE = "two_tower.toml"


def settings_from(folder: Path | None, assignments: list[str]) -> Settings:
    """Combine the settings of a feature repository with those of the command line, which take precedence.

    Args:
        folder: Feature repository; its two_tower.toml is optional. None: the defaults.
        assignments: KEY=VALUE texts of `--set`.

    Raises:
        InputError: The file is not TOML, or a setting is unknown, not allowed, or one of the cluster. The message names
            the setting, and the file if the setting is from the file.
    """
    settings = Settings()
    file = folder / SETTINGS_FILE if folder else None
    if file and file.is_file():
        try:
            values = tomllib.loads(file.read_text())
            _refuse_cluster_settings(values)
            settings = settings.with_values(values)
        except ValueError as error:  # not UTF-8, not TOML, or an InputError
            raise InputError(f"{file}: {error}") from error
    _refuse_cluster_settings(parse_assignments(assignments))
    return settings.with_assignments(assignments)


def _refuse_cluster_settings(names: Iterable[str]) -> None:
    for name in names:
        if name in field_types(ClusterConfig):
            raise InputError(
                f"{name} is a setting of the cluster and has no effect on this machine. Leave it out, or pass it to "
                f"`two-tower compile`, `submit` or `tune --katib` with --set."
            )
