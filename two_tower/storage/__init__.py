"""Storage of immutable folders and of a small pointer: a local directory, or a prefix of an object store (fsspec).

Both give three guarantees. A folder is complete or does not exist for its readers: its last file, which they look for,
appears after all others are written. A file is replaced atomically: a reader sees the old content or the new one. Of
two writers of one folder or file, one succeeds and the other gets an error.

The last guarantee needs conditional writes. S3 has them for new and for existing objects, fsspec's other object stores
for new ones; there, an existing object is compared immediately before it is replaced. A local directory uses a lock of
the operating system, which on a network volume can be limited to the processes of one machine.
"""

from pathlib import Path

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from two_tower.errors import InputError
from two_tower.errors import StorageError as StorageError
from two_tower.object_stores import file_system
from two_tower.storage.base import Entry as Entry
from two_tower.storage.base import Storage as Storage
from two_tower.storage.local import TEMPORARY as TEMPORARY
from two_tower.storage.local import Local
from two_tower.storage.local import locked as locked
from two_tower.storage.objects import Objects


def open_storage(root: str | Path) -> Storage:
    """Open the storage at a local path or at a URL such as s3://bucket/prefix.

    Raises:
        InputError: No installed package supports the protocol, or the path is a file.
    """
    try:
        fs, path = file_system(str(root))
    except InputError:
        raise
    except (ImportError, ValueError) as error:
        raise InputError(f"releases={str(root)!r} cannot be opened: {error}") from error
    if not isinstance(fs, LocalFileSystem):
        return Objects(fs, path.rstrip("/"))
    if Path(path).exists() and not Path(path).is_dir():
        raise InputError(f"releases={str(root)!r} is a file. Pass a folder.")
    return Local(Path(path))
