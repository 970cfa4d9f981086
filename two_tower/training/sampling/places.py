"""Folders that lie in an object store: fetched before training, sent after it."""

from pathlib import Path

from two_tower.errors import InputError
from two_tower.storage import open_storage


def download(address: str, folder: Path) -> Path:
    """A local folder as it is; one at an address such as s3://bucket/prefix copied, with all below it, to `folder`.

    Raises InputError where nothing is there, and StorageError as `releases.storage` does.
    """
    if "://" not in address:
        return Path(address)
    root, _, name = address.rstrip("/").rpartition("/")
    try:
        return open_storage(root).local(name, folder)
    except FileNotFoundError as error:
        raise InputError(f"{address}: nothing there. Correct the address.") from error


def upload(folder: Path, address: str, last: str) -> None:
    """Copy a folder to an address; its file `last`, by which readers know that it is whole, goes last."""
    root, _, name = address.rstrip("/").rpartition("/")
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    open_storage(root).write_folder(name, {**{k: v for k, v in files.items() if k != last}, last: files[last]})
