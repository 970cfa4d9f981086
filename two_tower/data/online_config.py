"""The feature store's configuration as a release carries it: enough for online look-ups from any folder."""

import os
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from two_tower.errors import InputError

_OFFLINE_ONLY = ("offline_store", "batch_engine", "materialization")


def online_config(repo: Path, releases: Path | None = None) -> str:
    """The text of a repository's feature_store.yaml with absolute paths and without what only training reads.

    Feast imports the offline store's packages to check its settings, and the service has none of them. The registry
    is read once: a release is served by the definitions that it was made of, and no request waits for a refresh.
    Environment variables (${NAME}) stay as they are, so that no secret travels with a release.

    releases: local folder of the releases. A path below it is written relative to a release, so that the folder can be
    moved as a whole.

    Raises InputError where the repository has no such file or the file is not a YAML mapping.
    """
    path = repo / "feature_store.yaml"
    if not path.is_file():
        raise InputError(f"no feature_store.yaml in {repo}. Point to a Feast repository.")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{path} holds no mapping of settings. See https://docs.feast.dev/reference/feature-repository"
        )
    config = {name: value for name, value in config.items() if name not in _OFFLINE_ONLY}
    registry = config.get("registry", "data/registry.db")
    registry = registry if isinstance(registry, dict) else {"path": registry}
    config["registry"] = _absolute({"cache_ttl_seconds": 0, **registry}, repo, releases)  # 0: never refreshed
    if isinstance(config.get("online_store"), dict):
        config["online_store"] = _absolute(config["online_store"], repo, releases)
    return str(yaml.safe_dump(config, sort_keys=False))


def _absolute(section: dict[str, Any], repo: Path, releases: Path | None) -> dict[str, Any]:
    """A section with a relative local `path` made absolute; URLs and environment variables stay."""
    path = section.get("path")
    if not isinstance(path, str) or "://" in path or path.startswith("$"):
        return section
    place = (repo / path).resolve()
    if releases and place.is_relative_to(releases.resolve()):
        return {**section, "path": os.path.relpath(place, releases.resolve() / "release")}
    return {**section, "path": str(place)}
