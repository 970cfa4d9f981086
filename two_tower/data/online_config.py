"""The feature store configuration in a release: all settings that online lookups need, usable from any folder."""

import os
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from two_tower.errors import InputError

_OFFLINE_ONLY = ("offline_store", "batch_engine", "materialization")


def online_config(repo: Path, releases: Path | None = None) -> str:
    """Return a repository's feature_store.yaml with absolute paths and without the settings that only training uses.

    Feast imports the packages of the offline store to validate its settings, and the service does not have these
    packages. The registry is read once: a release is served with the definitions that it was trained with, and requests
    do not wait for a refresh. Environment variables (${NAME}) are not expanded, so a release contains no secrets.

    Args:
        repo: The folder of the Feast feature repository.
        releases: The local folder of the releases. Paths inside this folder are written relative to a release, so that
            the folder can be moved as a whole.

    Returns:
        The configuration as YAML.

    Raises:
        InputError: If the repository does not have the file, or the file is not a YAML mapping.
    """
    path = repo / "feature_store.yaml"
    if not path.is_file():
        raise InputError(f"{path} does not exist. Pass the folder of a Feast feature repository.")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{path} is not a mapping of settings. See https://docs.feast.dev/reference/feature-repository"
        )
    config = {name: value for name, value in config.items() if name not in _OFFLINE_ONLY}
    registry = config.get("registry", "data/registry.db")
    registry = registry if isinstance(registry, dict) else {"path": registry}
    config["registry"] = _absolute({"cache_ttl_seconds": 0, **registry}, repo, releases)  # 0: never refresh
    if isinstance(config.get("online_store"), dict):
        config["online_store"] = _absolute(config["online_store"], repo, releases)
    return str(yaml.safe_dump(config, sort_keys=False))


def _absolute(section: dict[str, Any], repo: Path, releases: Path | None) -> dict[str, Any]:
    """Make a relative local `path` in a section absolute; URLs and environment variables stay unchanged."""
    path = section.get("path")
    if not isinstance(path, str) or "://" in path or path.startswith("$"):
        return section
    place = (repo / path).resolve()
    if releases and place.is_relative_to(releases.resolve()):
        return {**section, "path": os.path.relpath(place, releases.resolve() / "release")}
    return {**section, "path": str(place)}
