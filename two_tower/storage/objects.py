"""Storage in an object store that fsspec knows."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec  # type: ignore[import-untyped]

from two_tower.errors import ConflictError, StorageError
from two_tower.object_stores import client_errors
from two_tower.retries import retried
from two_tower.storage.base import Entry, Storage, check_size


class Objects(Storage):
    """A prefix of an object store, in which each object is written atomically and cannot be renamed.

    Objects of an interrupted upload stay: another writer of the same folder may already rely on them.
    """

    in_place = False

    def __init__(self, fs: Any, root: str) -> None:
        self.fs = fs
        self.root = root

    def _client(self) -> AbstractContextManager[None]:
        """Turn errors of the store's client into StorageError, except those of a file that exists or does not."""
        return client_errors(self.fs, self.root)

    @retried
    def entries(self, folder: str = "") -> list[Entry]:
        prefix = f"{self.root}/{folder}/" if folder else f"{self.root}/"
        try:
            with self._client():
                listed = self.fs.ls(prefix, detail=True)
        except FileNotFoundError:
            return []
        return [
            Entry(name, _modified(one) if one["type"] == "file" else None)
            for one in listed
            if (name := one["name"].removeprefix(prefix).rstrip("/")) and one["name"].startswith(prefix)
        ]  # an object with the name of the prefix is the mark of a folder that consoles make

    @retried
    def open(self, path: str) -> BinaryIO:
        with self._client():
            return cast("BinaryIO", self.fs.open(f"{self.root}/{path}", "rb"))

    @retried
    def read(self, path: str, limit: int | None = None) -> bytes:
        with self._client():
            size = self.fs.info(f"{self.root}/{path}")["size"]
            check_size(path, size, limit)
            return bytes(self.fs.cat_file(f"{self.root}/{path}", start=0, end=size)) if size else b""

    @retried
    def exists(self, path: str) -> bool:
        with self._client():
            return bool(self.fs.exists(f"{self.root}/{path}"))

    def write_folder(self, name: str, files: Mapping[str, Path | bytes]) -> None:
        *first, last = files
        if self.exists(f"{name}/{last}"):
            raise FileExistsError(f"{self.root}/{name} is complete")
        for file in first:
            self._put(f"{name}/{file}", files[file])
        try:
            self._put(f"{name}/{last}", files[last], mode="create")
        except OSError as error:
            if self.exists(f"{name}/{last}"):
                raise FileExistsError(f"{self.root}/{name} was completed by another process") from error
            raise

    @retried
    def _put(self, path: str, content: Path | bytes, mode: str = "overwrite") -> None:
        with self._client():
            if isinstance(content, bytes):
                self.fs.pipe_file(f"{self.root}/{path}", content, mode=mode)
            else:
                self.fs.put_file(str(content), f"{self.root}/{path}", mode=mode)

    @retried
    def remove_folder(self, name: str) -> None:
        with self._client():
            self.fs.rm(f"{self.root}/{name}", recursive=True)

    def write_file(self, name: str, content: bytes) -> None:
        self._put(name, content)

    @retried
    def remove_files(self, paths: Sequence[str]) -> None:
        with self._client(), suppress(FileNotFoundError):  # some stores stop at a missing file; the next call goes on
            self.fs.rm([f"{self.root}/{path}" for path in paths])

    @retried
    def replace(self, path: str, content: bytes, before: bytes | None) -> None:
        target = f"{self.root}/{path}"
        try:
            with self._client():
                self._replace_if_unchanged(target, content, before)
        except OSError as error:
            now = self.read(path) if self.exists(path) else None
            if now == content:  # written by this call, whose response was lost, or by another process
                return
            if now != before:
                raise ConflictError(f"{self.fs.unstrip_protocol(target)} was changed by another process") from error
            raise

    def _replace_if_unchanged(self, target: str, content: bytes, before: bytes | None) -> None:
        """Raise OSError if the object is not `before`."""
        if before is None:
            self.fs.pipe_file(target, content, mode="create")
            return
        etag = self.fs.info(target).get("ETag")
        if self.fs.cat_file(target) != before:
            raise FileExistsError(f"{target} was changed")
        condition = {"IfMatch": etag} if "s3" in self.fs.protocol else {}
        self.fs.pipe_file(target, content, **condition)

    @retried
    def local(self, name: str, cache: Path, limits: Mapping[str, int] | None = None) -> Path:
        source = f"{self.root}/{name}"
        with self._client():
            files = limits or dict.fromkeys(self._all(source))
            for file, limit in files.items():
                if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                    raise StorageError(f"the name of the object {source}/{file} leads out of its folder. Remove it.")
                target = cache / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{source}/{file}", str(target), callback=_Limit(file, limit))
        return cache / name

    def _all(self, source: str) -> list[str]:
        """Names of all objects below a prefix, relative to it."""
        paths = [path for path in self.fs.find(source) if path.startswith(f"{source}/") and not path.endswith("/")]
        if not paths:
            raise FileNotFoundError(source)
        return [path.removeprefix(f"{source}/") for path in paths]


class _Limit(fsspec.Callback):
    """Ends the download of a file that exceeds its limit."""

    def __init__(self, file: str, limit: int | None) -> None:
        super().__init__()
        self.file, self.limit = file, limit

    def set_size(self, size: int | None) -> None:
        check_size(self.file, size or 0, self.limit)

    def relative_update(self, inc: int = 1) -> None:
        self.value += inc
        check_size(self.file, self.value, self.limit)


def _modified(info: Mapping[str, Any]) -> float:
    """When an object was written, by the clock of the store: s3fs, gcsfs, adlfs and memory name it differently."""
    names = ("LastModified", "mtime", "last_modified", "created")
    modified = next((info[name] for name in names if info.get(name) is not None), None)
    if modified is None:
        return time.time()
    return float(modified.timestamp() if isinstance(modified, datetime) else modified)
