"""Options that several commands have, durations, and shell completion of names."""

import os
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.output import Output
from two_tower.errors import InputError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def complete_dataset(incomplete: str) -> list[str]:
    """Names of the built-in data sets, for shell completion."""
    from two_tower.datasets import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """Settings of a local run, as --set takes them, for shell completion."""
    from two_tower.config import Settings

    return [f"{name}=" for name in _names(Settings().sections().values()) if name.startswith(incomplete)]


def complete_cluster_setting(incomplete: str) -> list[str]:
    """Settings of a run on a cluster, as --set takes them, for shell completion."""
    return [f"{name}=" for name in complete_setting_name(incomplete)]


def complete_deploy_setting(incomplete: str) -> list[str]:
    """Settings of a deployment, as --set takes them, for shell completion."""
    from two_tower.config import DeployConfig

    return [f"{name}=" for name in _names([DeployConfig()]) if name.startswith(incomplete)]


def complete_setting_name(incomplete: str) -> list[str]:
    """Names of all settings, for shell completion."""
    from pipelines.cli.settings import sections

    return [name for name in _names(sections().values()) if name.startswith(incomplete)]


def _names(sections: Iterable[Any]) -> list[str]:
    from dataclasses import fields

    return [f.name for section in sections for f in fields(section)]


def seconds(option: str, text: str, bare: str, output: Output) -> float:
    """Seconds of a duration such as 30s, 30m or 2h.

    Args:
        option: Name of the option, for messages.
        text: Value of the option.
        bare: Unit of a number that has no unit; such a number is accepted with a warning.
        output: Prints the warning.

    Raises:
        InputError: `text` is not a duration.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text)
    if not match:
        raise InputError(f"{option} {text!r} is not a duration. Write a number and a unit, such as 30s, 30m or 2h.")
    number, unit = match.groups()
    if not unit:
        output.warn(f"{option} {text} has no unit; it counts as {text}{bare}. The next release will require the unit.")
    return float(number) * _SECONDS[unit or bare]


def check_output_file(option: str, path: Path) -> None:
    """Check that a file can be written, before the work for it starts.

    Raises:
        InputError: `path` is a folder, or its folder does not exist or is not writable.
    """
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path} cannot be written. Check that its folder exists and is writable.")


def check_instant(text: str, option: str = "--as-of") -> None:
    """Check the time that an option gives.

    Raises:
        InputError: `text` is not in ISO 8601, or has no time zone.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not an ISO 8601 time, such as 2026-01-31T00:00:00+00:00.") from error
    if instant.tzinfo is None:
        raise InputError(f"{option} {text!r} has no time zone. Add one, for example {text}+00:00.")


Releases = Annotated[str, typer.Option("--releases", help="Folder, s3:// or gs:// URL of the releases.")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="Built-in data set, such as sample.", autocompletion=complete_dataset),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder with the raw files of the data set.")]
AsOf = Annotated[str, typer.Option("--as-of", help="Read interactions up to this time (ISO 8601). Default: all.")]
_SET_HELP = "Change a setting. Can be given several times."
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help=_SET_HELP, autocompletion=complete_setting),
]
DeployAssignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help=_SET_HELP, autocompletion=complete_deploy_setting),
]
ClusterAssignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help=_SET_HELP, autocompletion=complete_cluster_setting),
]
