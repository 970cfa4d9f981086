"""Find or download the files of a public data set."""

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
_PROGRESS_INTERVAL = 2.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Source:
    """The official source of a public data set.

    Attributes:
        folder: The name of its folder under $TWO_TOWER_DATA and in the cache.
        files: Alternative sets of file names, the best first. One complete set is enough.
        url: The address of the official archive (zip).
        sha256: The checksum of the archive. None: not checked, because the publisher builds the archive on demand.
        licence: The licence, for the message before a download.
    """

    folder: str
    files: tuple[tuple[str, ...], ...]
    url: str
    sha256: str | None
    licence: str

    def paths(self, folder: Path) -> tuple[Path, ...] | None:
        """Return the files of the first alternative that is complete in a folder, or None."""
        for names in self.files:
            paths = tuple(folder / name for name in names)
            if all(path.is_file() for path in paths):
                return paths
        return None


def locate(source: Source, data_dir: Path | None, cache: Path = CACHE) -> Path:
    """Find the files of a data set, or download them to the cache.

    Args:
        source: The data set.
        data_dir: The folder of the files. None: $TWO_TOWER_DATA/<folder>, else the cache, else a download to the cache.
        cache: The folder of the cache.

    Returns:
        The folder of the files.

    Raises:
        InputError: If `data_dir` lacks a file, the download fails, or the archive is not the official one.
    """
    if data_dir is not None:
        if not data_dir.is_dir():
            raise InputError(f"--data-dir {data_dir} does not exist. Pass the folder of the raw files.")
        if source.paths(data_dir) is None:
            raise InputError(_incomplete(source, data_dir))
        return data_dir
    shared = os.environ.get(DATA_VARIABLE)
    cached = cache.expanduser() / source.folder
    for folder in ([Path(shared) / source.folder] if shared else []) + [cached]:
        if source.paths(folder) is not None:
            return folder
    download(source, cached)
    return cached


def files(source: Source, folder: Path) -> tuple[Path, ...]:
    """Return the raw files in a folder.

    Args:
        source: The data set.
        folder: The folder, from `locate`.

    Returns:
        The files of the first complete alternative.

    Raises:
        InputError: If the folder lacks a file.
    """
    paths = source.paths(folder)
    if paths is None:
        raise InputError(_incomplete(source, folder))
    return paths


def digest(paths: tuple[Path, ...]) -> str:
    """Return the SHA-256 hash of the contents of files, in hexadecimal digits. The order of the files matters."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def download(source: Source, folder: Path) -> None:
    """Download the official archive, verify its checksum, and unpack it.

    Args:
        source: The data set.
        folder: The output folder. It appears only when it is complete.

    Raises:
        InputError: If the download fails, the checksum is wrong, or the archive lacks a file.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{source.folder}-") as name:
        archive = Path(name) / "archive.zip"
        sys.stderr.write(f"downloading {source.url} (licence: {source.licence})\n")
        _fetch(source, archive)
        unpacked = Path(name) / "files"
        _extract(source, archive, unpacked)
        if folder.exists():
            shutil.rmtree(folder)
        unpacked.rename(folder)


def _fetch(source: Source, path: Path) -> None:
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response, path.open("wb") as file:  # noqa: S310 - a constant address
            _copy(response, file, int(response.headers.get("Content-Length") or 0))
    except OSError as error:  # URLError, timeouts and broken connections are all OSErrors
        raise InputError(
            f"cannot download {source.url} ({getattr(error, 'reason', error)}). Download it on another machine, unpack "
            f"it, and pass its folder with --data-dir, or copy it to ${DATA_VARIABLE}/{source.folder}."
        ) from error
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if source.sha256 is not None and checksum != source.sha256:
        raise InputError(
            f"{source.url} has the sha256 {checksum}, not {source.sha256}: the download is corrupt, or the archive is "
            "not the official one. Try again; the downloaded file was deleted."
        )


def _copy(response: IO[bytes], file: IO[bytes], size: int) -> None:
    """Copy a download and print its progress on standard error every two seconds. `size`: bytes; 0 if unknown."""
    start = printed = time.monotonic()
    done = 0
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        now = time.monotonic()
        if now - printed >= _PROGRESS_INTERVAL:
            printed = now
            rest = f" of {size / 1e6:.1f} MB, about {(size - done) / done * (now - start):.0f} s left"
            sys.stderr.write(f"downloading: {done / 1e6:.1f}{rest if size else ' MB'}\n")


def _extract(source: Source, archive: Path, folder: Path) -> None:
    """Extract the files of the data set, without the folders of the archive."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = Path(member.filename).name
                if not member.is_dir() and any(name in names for names in source.files):
                    with opened.open(member) as source_file, (folder / name).open("wb") as file:
                        shutil.copyfileobj(source_file, file, _CHUNK)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{source.url} is not a valid zip archive ({error}). Try again; the downloaded file was deleted."
        ) from error
    if source.paths(folder) is None:
        raise InputError(_incomplete(source, folder))


def _incomplete(source: Source, folder: Path) -> str:
    names = source.files[0]
    missing = [name for name in names if not (folder / name).is_file()]
    required = " or ".join(", ".join(alternative) for alternative in source.files)
    inner = folder / source.folder
    hint = f" Did you mean {inner}?" if source.paths(inner) else f" The official source is {source.url}."
    return f"data folder {folder} lacks {', '.join(missing)}; required: {required}.{hint}"
