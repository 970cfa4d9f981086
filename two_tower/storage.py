"""Storage of immutable folders and of a small pointer: a local directory, or a prefix of an object store (fsspec).

Both give two guarantees. A folder is complete or does not exist for its readers: its last file, which they look for,
appears after all others are written. A text is replaced atomically: a reader sees the old one or the new one.
"""

import importlib
import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from two_tower.errors import InputError
from two_tower.errors import StorageError as StorageError

TEMPORARY = ".tmp-"
_CLIENT_ERRORS = {  # by package of the file system: errors of its client other than OSError, such as a failed login
    "s3fs": ("botocore.exceptions", "BotoCoreError"),
    "gcsfs": ("google.auth.exceptions", "GoogleAuthError"),
}
_ABANDONED = 24 * 3600  # seconds after which the writer of a temporary folder must have been killed


class Entry(NamedTuple):
    """A file or folder. modified: seconds since 1970 by the clock of the store; None for a folder."""

    name: str
    modified: float | None


class Storage(ABC):
    """Immutable folders of files, and separate files.

    Reading raises FileNotFoundError for a missing file or folder. Every method may raise OSError.
    """

    def folders(self) -> list[str]:
        """Return the names of the folders, complete or not, in alphabetical order and without temporary ones."""
        return sorted(entry.name for entry in self.entries() if entry.modified is None)

    @abstractmethod
    def entries(self) -> list[Entry]:
        """List the files and folders, without temporary ones; empty if nothing has been written yet."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the content of a file."""

    @abstractmethod
    def write_folder(self, name: str, files: Mapping[str, Path | bytes]) -> None:
        """Write a new folder, its files in the given order. After an error nothing of it is left.

        Args:
            name: Name of the folder.
            files: Path of a local file, or the content, by name.
        """

    @abstractmethod
    def remove_folder(self, name: str) -> None:
        """Remove a folder and its files."""

    @abstractmethod
    def write_file(self, name: str, content: bytes) -> None:
        """Write or replace a file atomically."""

    @abstractmethod
    def remove_files(self, paths: Sequence[str]) -> None:
        """Remove files, and a folder that is empty then. Files that do not exist are skipped."""

    def replace_text(self, name: str, text: str) -> None:
        """Write or replace a text file atomically."""
        self.write_file(name, text.encode())

    @abstractmethod
    def local(self, name: str, cache: Path) -> Path:
        """Return a local copy of a folder: the folder itself, or a download into `cache`."""


def open_storage(root: str | Path) -> Storage:
    """Open the storage at a local path or at a URL such as s3://bucket/prefix.

    Raises:
        InputError: No installed package supports the protocol, or the path is a file.
    """
    try:
        fs, path = fsspec.core.url_to_fs(str(root))
    except (ImportError, ValueError) as error:
        raise InputError(f"releases={str(root)!r} cannot be opened: {error}") from error
    if not isinstance(fs, LocalFileSystem):
        return _Objects(fs, path.rstrip("/"))
    if Path(path).exists() and not Path(path).is_dir():
        raise InputError(f"releases={str(root)!r} is a file. Pass a folder.")
    return _Local(Path(path))


class _Local(Storage):
    """A directory: folders and texts are written under a temporary name, synced to the disk, and renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self) -> list[Entry]:
        listed: list[Entry] = []
        with suppress(FileNotFoundError), os.scandir(self.root) as entries:
            for entry in entries:
                if entry.name.startswith(TEMPORARY):
                    continue
                with suppress(FileNotFoundError):  # removed meanwhile
                    listed.append(Entry(entry.name, None if entry.is_dir() else entry.stat().st_mtime))
        return listed

    def open(self, path: str) -> BinaryIO:
        return (self.root / path).open("rb")

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def write_folder(self, name: str, files: Mapping[str, Path | bytes]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        try:
            for file, content in files.items():
                _copy(content, temporary / file)
            temporary.chmod(0o755)  # mkdtemp sets 0700, but the service may run as another user
            _sync_folder(temporary)
            temporary.rename(self.root / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(self.root)

    def remove_folder(self, name: str) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        (self.root / name).rename(temporary / name)
        shutil.rmtree(temporary)

    def remove_files(self, paths: Sequence[str]) -> None:
        for path in paths:
            file = self.root / path
            file.unlink(missing_ok=True)
            if file.parent != self.root:
                with suppress(OSError):  # it holds other files, or another process has removed it
                    file.parent.rmdir()
        self._remove_abandoned()

    def write_file(self, name: str, content: bytes) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=self.root)
        os.close(handle)
        try:
            _copy(content, Path(temporary))
            Path(temporary).chmod(0o644)
            Path(temporary).replace(self.root / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(self.root)

    def local(self, name: str, cache: Path) -> Path:  # noqa: ARG002
        return self.root / name

    def _remove_abandoned(self) -> None:
        for path in self.root.glob(f"{TEMPORARY}*"):
            with suppress(FileNotFoundError):  # renamed or removed meanwhile
                if path.stat().st_mtime < time.time() - _ABANDONED:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


class _Objects(Storage):
    """A prefix of an object store, in which each object is written atomically and cannot be renamed."""

    def __init__(self, fs: Any, root: str) -> None:
        self.fs = fs
        self.root = root
        self._errors: tuple[type[Exception], ...] = (OSError, *_client_errors(type(fs).__module__))

    @contextmanager
    def _client(self) -> Iterator[None]:
        """Turn errors of the store's client into StorageError, except FileNotFoundError."""
        try:
            yield
        except FileNotFoundError:
            raise
        except self._errors as error:
            raise StorageError(
                f"{self.fs.unstrip_protocol(self.root)} cannot be reached: {error} Check the address, the credentials "
                "and, for your own store, its endpoint (S3: AWS_ENDPOINT_URL)."
            ) from error

    def entries(self) -> list[Entry]:
        self.fs.invalidate_cache()  # another process may have written since the last call
        try:
            with self._client():
                listed = self.fs.ls(self.root, detail=True)
        except FileNotFoundError:
            return []
        return [
            Entry(one["name"].rstrip("/").rsplit("/", 1)[-1], _modified(one) if one["type"] == "file" else None)
            for one in listed
        ]

    def open(self, path: str) -> BinaryIO:
        with self._client():
            return cast("BinaryIO", self.fs.open(f"{self.root}/{path}", "rb"))

    def read(self, path: str) -> bytes:
        with self._client():
            return bytes(self.fs.cat_file(f"{self.root}/{path}"))

    def write_folder(self, name: str, files: Mapping[str, Path | bytes]) -> None:
        targets = {f"{self.root}/{name}/{file}": content for file, content in files.items()}
        with self._client():
            try:
                for target, content in targets.items():
                    if isinstance(content, bytes):
                        self.fs.pipe_file(target, content)
                    else:
                        self.fs.put_file(str(content), target)
            except BaseException:
                if not self.fs.exists(list(targets)[-1]):  # else another writer has completed the same folder
                    for target in filter(self.fs.exists, targets):
                        self.fs.rm_file(target)
                raise

    def remove_folder(self, name: str) -> None:
        with self._client():
            self.fs.rm(f"{self.root}/{name}", recursive=True)

    def write_file(self, name: str, content: bytes) -> None:
        with self._client():
            self.fs.pipe_file(f"{self.root}/{name}", content)

    def remove_files(self, paths: Sequence[str]) -> None:
        with self._client(), suppress(FileNotFoundError):  # some stores stop at a missing file; the next call goes on
            self.fs.rm([f"{self.root}/{path}" for path in paths])

    def local(self, name: str, cache: Path) -> Path:
        folder = cache / name
        folder.mkdir(parents=True, exist_ok=True)
        with self._client():
            paths = self.fs.find(f"{self.root}/{name}")
            if not paths:
                raise FileNotFoundError(f"{self.root}/{name}")
            for path in paths:
                file = folder / path.partition(f"{self.root}/{name}/")[2]
                file.parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(path, str(file))
        return folder


def _modified(info: Mapping[str, Any]) -> float:
    """When an object was written, by the clock of the store: s3fs, gcsfs, adlfs and memory name it differently."""
    names = ("LastModified", "mtime", "last_modified", "created")
    modified = next((info[name] for name in names if info.get(name) is not None), None)
    if modified is None:
        return time.time()
    return float(modified.timestamp() if isinstance(modified, datetime) else modified)


def _client_errors(module: str) -> tuple[type[Exception], ...]:
    """The error class of a file system's client, by the module of the file system; empty if it raises only OSError."""
    package = module.split(".")[0]
    if package not in _CLIENT_ERRORS:
        return ()
    errors, name = _CLIENT_ERRORS[package]
    return (getattr(importlib.import_module(errors), name),)


def _copy(content: Path | bytes, target: Path) -> None:
    with target.open("wb") as out:
        if isinstance(content, bytes):
            out.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
