"""Copy a feature repository from an object store or a volume to the folder of a pipeline step."""

import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from two_tower.data.online_config import CONFIG_FILE
from two_tower.errors import InputError
from two_tower.object_stores import client_errors, file_system, is_remote
from two_tower.retries import retried

_NOT_COPIED = ("__pycache__", ".git", ".venv")


@retried
def fetch(address: str, folder: Path) -> None:
    """Copy a feature repository.

    Args:
        address: Path, file:// URL, or address of an object store, such as s3://bucket/prefix.
        folder: The output folder.

    Raises:
        InputError: Nothing is at the address, it is not a feature repository, its protocol is unknown, or the name of
            an object would be a path outside the folder.
        StorageError: The store cannot be reached, or refuses access.
    """
    if is_remote(address):
        _download(address, folder)
    else:
        source = local_path(address)
        if not source.is_dir():
            raise InputError(f"{address} is not a folder that this step can read. Check the path and the volumes.")
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"{address} is not a Feast feature repository: {CONFIG_FILE} is missing. Check the path or URL."
        )


def local_path(address: str) -> Path:
    """Return the path of an address that is not in an object store."""
    return Path(address.partition("://")[2] if "://" in address else address)


def _download(address: str, folder: Path) -> None:
    try:
        fs, root = file_system(address.rstrip("/"))
    except ImportError as error:
        raise InputError(f"{address} cannot be opened: {error}. Install the package.") from error
    except ValueError as error:
        raise InputError(f"{address} cannot be opened: {error}") from error
    with client_errors(fs, root):
        try:
            files = _relative(fs, root)
        except FileNotFoundError as error:
            raise InputError(f"{address} does not exist: {error} Check the address.") from error
        if not files:
            raise InputError(f"{address} does not exist, or is empty. Check the address.")
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        fs.get([f"{root}/{name}" for name in files], [str(folder / name) for name in files])


def _relative(fs: Any, root: str) -> list[str]:
    """Names of the files below a path, without the markers that consoles create for empty folders."""
    names = [path.removeprefix(f"{root}/") for path in fs.find(root) if path != root]
    names = [name for name in names if name and not name.endswith("/")]
    if outside := [name for name in names if ".." in PurePosixPath(name).parts or name.startswith("/")]:
        raise InputError(f"{root} has an object named {outside[0]!r}, which is not below it. Remove the object.")
    return [name for name in names if not set(_NOT_COPIED) & set(PurePosixPath(name).parts)]
