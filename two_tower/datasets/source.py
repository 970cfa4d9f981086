"""Where a public data set's files lie: a folder that is given, a cache, or the official archive."""

import hashlib
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from two_tower.errors import InputError

DATA_VARIABLE = "TWO_TOWER_DATA"
CACHE = Path("~/.cache/two-tower")
_CHUNK = 1 << 18  # bytes
_TELL_EVERY = 2.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public data set as its publisher offers it.

    folder: its name under $TWO_TOWER_DATA and in the cache.
    files: alternatives, best first; a folder that holds all files of one of them will do.
    url, sha256: the official archive (zip); a sha256 of None is not checked, for the publisher builds it on demand.
    """

    folder: str
    files: tuple[tuple[str, ...], ...]
    url: str
    sha256: str | None
    licence: str

    def found(self, folder: Path) -> tuple[Path, ...] | None:
        """The files of the first alternative that `folder` holds in full, else None."""
        for names in self.files:
            paths = tuple(folder / name for name in names)
            if all(path.is_file() for path in paths):
                return paths
        return None


def locate(source: Source, data_dir: Path | None, cache: Path = CACHE) -> Path:
    """The folder that holds the files: `data_dir`, else $TWO_TOWER_DATA/<folder>, else the cache, else a download.

    Raises InputError where `data_dir` lacks a file, and where the archive cannot be had or is not the official one.
    """
    if data_dir is not None:
        if source.found(data_dir) is None:
            raise InputError(_incomplete(source, data_dir))
        return data_dir
    shared = os.environ.get(DATA_VARIABLE)
    cached = cache.expanduser() / source.folder
    for folder in ([Path(shared) / source.folder] if shared else []) + [cached]:
        if source.found(folder) is not None:
            return folder
    download(source, cached)
    return cached


def files(source: Source, folder: Path) -> tuple[Path, ...]:
    """The raw files in `folder`, as `locate` found them."""
    paths = source.found(folder)
    if paths is None:
        raise InputError(_incomplete(source, folder))
    return paths


def digest(paths: tuple[Path, ...]) -> str:
    """The sha256 of the files' contents in the given order, hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def download(source: Source, folder: Path) -> None:
    """Fetch the official archive, check it, and unpack it to `folder`, which appears only when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{source.folder}-") as name:
        archive = Path(name) / "archive.zip"
        sys.stderr.write(f"downloading {source.url} (licence: {source.licence})\n")
        _fetch(source, archive)
        unpacked = Path(name) / "files"
        _unpack(source, archive, unpacked)
        if folder.exists():
            shutil.rmtree(folder)
        unpacked.rename(folder)


def _fetch(source: Source, path: Path) -> None:
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response, path.open("wb") as file:  # noqa: S310 - our own constant
            _copy(response, file, int(response.headers.get("Content-Length") or 0))
    except OSError as error:  # URLError, timeouts and broken connections are all OSErrors
        raise InputError(
            f"cannot download {source.url} ({getattr(error, 'reason', error)}). Fetch it on a machine that can, unpack "
            f"it, and name its folder with --data-dir, or put it at ${DATA_VARIABLE}/{source.folder}."
        ) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if source.sha256 is not None and found != source.sha256:
        raise InputError(
            f"{source.url} came with sha256 {found}, not {source.sha256}: a broken download, or not the official "
            "archive. Try again; nothing of it was kept."
        )


def _copy(response: IO[bytes], file: IO[bytes], size: int) -> None:
    """Copy a download, and say every two seconds on the standard error how far it is. size: bytes; 0 is not known."""
    began = told = time.monotonic()
    done = 0
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        now = time.monotonic()
        if now - told >= _TELL_EVERY:
            told = now
            of = f" of {size / 1e6:.1f} MB, about {(size - done) / done * (now - began):.0f} s left" if size else " MB"
            sys.stderr.write(f"downloading: {done / 1e6:.1f}{of}\n")


def _unpack(source: Source, archive: Path, folder: Path) -> None:
    """The archive's files, without the folders that hold them."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = Path(member.filename).name
                if not member.is_dir() and any(name in names for names in source.files):
                    with opened.open(member) as source_file, (folder / name).open("wb") as file:
                        shutil.copyfileobj(source_file, file, _CHUNK)
    except zipfile.BadZipFile as error:
        raise InputError(f"{source.url} is no readable zip archive ({error}). Try again; nothing was kept.") from error
    if source.found(folder) is None:
        raise InputError(_incomplete(source, folder))


def _incomplete(source: Source, folder: Path) -> str:
    names = source.files[0]
    absent = [name for name in names if not (folder / name).is_file()]
    wanted = " or ".join(", ".join(alternative) for alternative in source.files)
    inner = folder / source.folder
    hint = f" Did you mean {inner}?" if source.found(inner) else f" The official source is {source.url}."
    return f"data folder {folder} lacks {', '.join(absent)}; needed: {wanted}.{hint}"
