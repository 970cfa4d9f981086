"""The feature store configuration in a release: all settings that online lookups need, usable from any folder."""

import os
import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from two_tower.data.yaml_variables import dump_raw, load_expanded, load_raw
from two_tower.errors import InputError

CONFIG_FILE = "feature_store.yaml"
_OFFLINE_ONLY = ("offline_store", "batch_engine", "materialization")
_REGISTRY_PATH, _ONLINE_PATH = "data/registry.db", "data/online.db"  # Feast's defaults
_SQLITE_URL = re.compile(r"(sqlite(?:\+\w+)?:///)([^?:][^?]*)(.*)")
_VARIABLE = re.compile(r"\$\{(\w+)\}|^\$(\w+)$")  # a password may contain a dollar sign


def online_config(repo: Path, releases: Path | None = None) -> str:
    """Return a repository's feature_store.yaml with absolute paths and without the settings that only training uses.

    Feast imports the packages of the offline store to validate its settings, and the service does not have these
    packages. The registry is read once: a release is served with the definitions that it was trained with, and requests
    do not wait for a refresh. A release contains no secrets: environment variables (${NAME}) are expanded only in
    relative paths of files.

    Args:
        repo: The folder of the Feast feature repository.
        releases: The local folder of the releases. Paths inside this folder are written relative to a release, so that
            the folder can be moved as a whole.

    Returns:
        The configuration as YAML.

    Raises:
        InputError: If the repository does not have the file, the file is not a YAML mapping, or the path of the
            registry or online store uses an environment variable that is not set.
    """
    path = repo / CONFIG_FILE
    config = {name: value for name, value in read(path).items() if name not in _OFFLINE_ONLY}
    registry = config.get("registry", _REGISTRY_PATH)
    registry = registry if isinstance(registry, dict) else {"path": registry}
    online = config.get("online_store", "sqlite")
    if isinstance(online, str) and online.lower() not in ("none", "null"):
        online = {"type": online}
    if isinstance(online, dict):
        online = {"type": "sqlite", **online}
        online = {"path": _ONLINE_PATH, **online} if _is_sqlite(online) else online
    config["registry"] = _located({"cache_ttl_seconds": 0, **registry}, repo, releases)  # 0: never refresh
    config["online_store"] = _located(online, repo, releases)
    return dump_raw(config)


def read(path: Path) -> dict[str, Any]:
    """Read a feature_store.yaml without expanding environment variables.

    Args:
        path: The file.

    Returns:
        The settings.

    Raises:
        InputError: If the file does not exist or is not a YAML mapping.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Pass the folder of a Feast feature repository.")
    try:
        settings = load_raw(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise InputError(
            f"{path} is not a mapping of settings. See https://docs.feast.dev/reference/feature-repository"
        )
    return settings


def check_variables(settings: Any, path: Path) -> None:
    """Check that all environment variables (${NAME}) in the settings are set. Feast would use the text `${NAME}`.

    Args:
        settings: The parsed YAML.
        path: The file, for the message.

    Raises:
        InputError: If a variable is not set.
    """
    if isinstance(settings, dict | list):
        for value in settings.values() if isinstance(settings, dict) else settings:
            check_variables(value, path)
    elif isinstance(settings, str):
        for names in _VARIABLE.findall(settings):
            if (name := "".join(names)) not in os.environ:
                raise InputError(f"{path} uses the environment variable {name}, which is not set. Set it.")


def expanded(config: str) -> dict[str, Any]:
    """Expand the environment variables of a configuration that `online_config` returned, and check its files.

    Args:
        config: The configuration as YAML.

    Returns:
        The settings for Feast.

    Raises:
        InputError: If the file of the registry or the online store does not exist. Feast would create an empty one.
    """
    settings: dict[str, Any] = load_expanded(config)
    for name in ("registry", "online_store"):
        section = settings[name]
        path = section.get("path") if isinstance(section, dict) else None
        if path and _is_local(section, path) and not Path(_file(path)).is_file():
            raise InputError(
                f"{name}: {_file(path)} does not exist. Materialise the features, or correct the path in "
                "feature_store.yaml."
            )
    return settings


def is_file_in(path: str, repo: Path) -> bool:
    """Return whether the path or SQLAlchemy URL of a registry is a file in the folder of the repository."""
    return (bool(_SQLITE_URL.fullmatch(path)) or "://" not in path) and (repo / _file(path)).resolve().is_relative_to(
        repo.resolve()
    )


def _located(section: Any, repo: Path, releases: Path | None) -> Any:
    """Make the relative paths of files in a section absolute; all other values stay unchanged."""
    if isinstance(section, list):
        return [_located(value, repo, releases) for value in section]
    if not isinstance(section, dict):
        return section
    located = {}
    for name, value in section.items():
        text = os.path.expandvars(value) if isinstance(value, str) else ""
        if name == "path" and text and _is_local(section, text):
            check_variables(value, repo / "feature_store.yaml")
            is_variable = text != value and Path(_file(text)).is_absolute()
            located[name] = value if is_variable else _absolute(text, repo, releases)
        elif text and "://" not in text and not Path(text).is_absolute() and (repo / text).is_file():
            located[name] = _absolute(text, repo, releases)  # such as a certificate
        else:
            located[name] = _located(value, repo, releases)
    return located


def _is_local(section: dict[str, Any], path: str) -> bool:
    """Return whether the `path` in a section is a file: of SQLite, or of a registry without a server."""
    if _SQLITE_URL.fullmatch(path):
        return True
    is_file = _is_sqlite(section) if "type" in section else section.get("registry_type", "file") == "file"
    return is_file and "://" not in path


def _is_sqlite(online: dict[str, Any]) -> bool:
    return str(online["type"]).lower().endswith(("sqlite", "sqliteonlinestore"))


def _file(path: str) -> str:
    """Return the path of the file in a path or an SQLAlchemy URL of SQLite."""
    url = _SQLITE_URL.fullmatch(path)
    return url[2] if url else path


def _absolute(path: str, repo: Path, releases: Path | None) -> str:
    place = (repo / _file(path)).resolve()
    file = str(place)
    if releases and place.is_relative_to(releases.resolve()):
        file = os.path.relpath(place, releases.resolve() / "release")
    return _SQLITE_URL.sub(lambda url: f"{url[1]}{file}{url[3]}", path) if _SQLITE_URL.fullmatch(path) else file
