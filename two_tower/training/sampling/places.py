"""Folders in an object store: downloaded before training, uploaded after it."""

from pathlib import Path

from two_tower.errors import InputError
from two_tower.storage import open_storage


def download(address: str, folder: Path) -> Path:
    """Return a local folder as it is; copy a folder in an object store to `folder` and return that.

    Args:
        address: Local path, or an address such as s3://bucket/prefix.
        folder: Local folder for the copy.

    Raises:
        InputError: The address does not exist.
        StorageError: The object store cannot be read.
    """
    if "://" not in address:
        return Path(address)
    root, _, name = address.rstrip("/").rpartition("/")
    try:
        return open_storage(root).local(name, folder)
    except FileNotFoundError as error:
        raise InputError(f"{address} does not exist. Check the path or URL.") from error


def upload(folder: Path, address: str, last: str) -> None:
    """Copy a folder to an address, and replace a complete folder there.

    Args:
        folder: Local folder.
        address: Address such as s3://bucket/prefix.
        last: File that is written last; its presence tells readers that the folder is complete.
    """
    root, _, name = address.rstrip("/").rpartition("/")
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    storage = open_storage(root)
    if storage.exists(f"{name}/{last}"):
        storage.remove_folder(name)
    storage.write_folder(name, {**{k: v for k, v in files.items() if k != last}, last: files[last]})
