"""Storage in a local directory."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from two_tower.errors import ConflictError
from two_tower.storage.base import Entry, Storage, check_size

TEMPORARY = ".tmp-"
_ABANDONED = 24 * 3600  # seconds after which the writer of a temporary folder must have been killed


class Local(Storage):
    """A directory: folders and files are written under a temporary name, synced to the disk, and renamed."""

    in_place = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self, folder: str = "") -> list[Entry]:
        listed: list[Entry] = []
        with suppress(FileNotFoundError), os.scandir(self.root / folder) as entries:
            for entry in entries:
                if not entry.name.startswith(TEMPORARY):
                    with suppress(FileNotFoundError):  # removed meanwhile
                        listed.append(_entry(entry))
        return listed

    def open(self, path: str) -> BinaryIO:
        return (self.root / path).open("rb")

    def read(self, path: str, limit: int | None = None) -> bytes:
        check_size(path, (self.root / path).stat().st_size, limit)
        return (self.root / path).read_bytes()

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def write_folder(self, name: str, files: Mapping[str, Path | bytes]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.remove_abandoned()
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        try:
            for file, content in files.items():
                _copy(content, temporary / file)
            temporary.chmod(0o755)  # mkdtemp sets 0700, but the service may run as another user
            _sync_folder(temporary)
            with locked(self.root):
                if (self.root / name / list(files)[-1]).exists():
                    raise FileExistsError(f"{self.root / name} is complete")
                self._move_away(name)
                temporary.rename(self.root / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(self.root)

    def remove_folder(self, name: str) -> None:
        if not self._move_away(name):
            raise FileNotFoundError(self.root / name)

    def _move_away(self, name: str) -> bool:
        """Remove a folder, for readers in one step; False if it does not exist."""
        if not (self.root / name).exists():
            return False
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        (self.root / name).rename(temporary / name)
        shutil.rmtree(temporary)
        return True

    def remove_files(self, paths: Sequence[str]) -> None:
        for path in paths:
            file = self.root / path
            file.unlink(missing_ok=True)
            if file.parent != self.root:
                with suppress(OSError):  # it holds other files, or another process has removed it
                    file.parent.rmdir()
        self.remove_abandoned()

    def write_file(self, name: str, content: bytes) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with self._written(content) as temporary:
            temporary.replace(self.root / name)
        _sync_folder(self.root)

    def replace(self, path: str, content: bytes, before: bytes | None) -> None:
        target = self.root / path
        with self._written(content) as temporary, locked(self.root):
            now = target.read_bytes() if target.exists() else None
            if now not in (before, content):
                raise ConflictError(f"{target} was changed by another process")
            temporary.replace(target)
        _sync_folder(target.parent)

    @contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        """A temporary file with this content, removed if the block fails."""
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=self.root)
        os.close(handle)
        try:
            _copy(content, Path(temporary))
            Path(temporary).chmod(0o644)
            yield Path(temporary)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def local(self, name: str, cache: Path, limits: Mapping[str, int] | None = None) -> Path:  # noqa: ARG002
        return self.root / name

    def remove_abandoned(self) -> None:
        """Remove what killed writers have left."""
        for path in self.root.glob(f"{TEMPORARY}*"):
            with suppress(FileNotFoundError):  # renamed or removed meanwhile
                if path.stat().st_mtime < time.time() - _ABANDONED:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which other processes wait for. A killed process releases it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _entry(entry: "os.DirEntry[str]") -> Entry:
    modified = None if entry.is_dir() else entry.stat(follow_symlinks=False).st_mtime
    return Entry(entry.name, modified, link=entry.is_symlink() or not (entry.is_dir() or entry.is_file()))


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
