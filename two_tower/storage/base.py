"""The interface of a storage."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal, NamedTuple

from two_tower.errors import StorageError


class Entry(NamedTuple):
    """A file, a folder, or a link or device.

    Attributes:
        name: Its name.
        modified: When a file was written, in seconds since 1970 by the clock of the store; None for a folder.
        link: Whether it is a link, or a device such as a pipe, which a reader could wait for.
    """

    name: str
    modified: float | None
    link: bool = False

    @property
    def kind(self) -> Literal["file", "folder", "link"]:
        if self.link:
            return "link"
        return "folder" if self.modified is None else "file"


class Storage(ABC):
    """Immutable folders of files, and separate files.

    Reading raises FileNotFoundError for a missing file or folder. Every method may raise OSError.

    Attributes:
        in_place: Whether the folders are on this machine.
    """

    in_place: ClassVar[bool]

    def folders(self) -> list[str]:
        """Return the names of the folders, complete or not, in alphabetical order and without temporary ones."""
        return sorted(entry.name for entry in self.entries() if entry.modified is None)

    @abstractmethod
    def entries(self, folder: str = "") -> list[Entry]:
        """List the files and folders of the storage, or of one folder, without temporary ones.

        The list is empty if nothing has been written yet.
        """

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""

    @abstractmethod
    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of a file. A file of more than `limit` bytes raises StorageError."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether a file exists."""

    @abstractmethod
    def write_folder(self, name: str, files: Mapping[str, Path | bytes]) -> None:
        """Write a folder, its files in the given order; the last one completes it.

        A folder without its last file, which an interrupted writer left, is written again. After an error the folder
        is not complete.

        Args:
            name: Name of the folder.
            files: Path of a local file, or the content, by name.

        Raises:
            FileExistsError: The folder is complete already.
        """

    @abstractmethod
    def remove_folder(self, name: str) -> None:
        """Remove a folder and its files."""

    @abstractmethod
    def write_file(self, name: str, content: bytes) -> None:
        """Write or replace a file atomically, whatever it holds."""

    @abstractmethod
    def remove_files(self, paths: Sequence[str]) -> None:
        """Remove files, and a folder that is empty then. Files that do not exist are skipped."""

    @abstractmethod
    def replace(self, path: str, content: bytes, before: bytes | None) -> None:
        """Write or replace a small file atomically, if nobody has changed it since it was read.

        Args:
            path: The file.
            content: The new content.
            before: The content that was read; None if the file did not exist.

        Raises:
            ConflictError: The file has a content other than `before` and `content`.
        """

    @abstractmethod
    def local(self, name: str, cache: Path, limits: Mapping[str, int] | None = None) -> Path:
        """Return a local copy of a folder: the folder itself, or a download into `cache`.

        Args:
            name: Name of the folder.
            cache: Receives a download.
            limits: Files to download, and the largest size of each in bytes. Default: all files, of any size.

        Raises:
            StorageError: A file exceeds its limit, or its name leads out of the folder.
        """


def check_size(path: str, size: int, limit: int | None) -> None:
    """Raise StorageError if a file is larger than its limit in bytes. None: any size."""
    if limit is not None and size > limit:
        raise StorageError(f"{path} has {size} bytes, and at most {limit} are expected. Publish it again.")
