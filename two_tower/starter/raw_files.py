"""Find the files of a path (a file, a folder, a pattern, a zip archive), and decompress them."""

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import pyarrow as pa

from two_tower.errors import InputError

_START = 1 << 12  # bytes that tell the format
_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {  # the first bytes of a file: a decompressing reader
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(file, "zstd"),
    b"\x04\x22\x4d\x18": lambda file: pa.CompressedInputStream(file, "lz4"),
}
_OTHER = {  # the first bytes of a file that is not read: what it is
    b"\x80\x03": "a pickle file; write the table as parquet",
    b"\x80\x04": "a pickle file; write the table as parquet",
    b"\x80\x05": "a pickle file; write the table as parquet",
    b"SQLite format 3": "an SQLite database; export the table as CSV or parquet",
    b"\x89HDF": "an HDF5 file; write the table as parquet",
    b"Obj\x01": "an Avro file; write the table as parquet",
    b"\x93NUMPY": "a NumPy array; write the table as parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save it as .xlsx or CSV",
    b"%PDF": "a PDF document; pass the table as CSV or parquet",
    b"7z\xbc\xaf": "a 7z archive; unpack it and pass the file or the folder",
    b"Rar!": "a RAR archive; unpack it and pass the file or the folder",
    b"version https://git-lfs": "a Git LFS pointer; run `git lfs pull` to fetch the content",
}
_WEB = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml)", re.I)
_TABLE_FORMATS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi", "metadata": "Iceberg"}
_KEY = re.compile(r"([A-Za-z_]\w*)=(.*)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class RawFile:
    """One file with a table.

    Attributes:
        name: The name for messages.
        start: The first bytes of the decompressed content.
        open: Opens the decompressed content.
        keys: The values of the folders `key=value` of the file.
        path: The path of a file that is not compressed, else None.
    """

    name: str
    start: bytes
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    keys: dict[str, str | None] = field(default_factory=dict)
    path: Path | None = None

    def content(self, size: int = -1) -> bytes:
        """Return the first `size` bytes of the decompressed content. -1: all bytes.

        Raises:
            InputError: If the compressed data are corrupt.
        """
        try:
            with self.open() as file:
                return file.read() if size < 0 else file.read(size)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException) as error:
            raise InputError(f"{self.name} is corrupt or truncated ({error}). Write the file again.") from error


def raw_files(path: Path, table: str) -> list[RawFile]:
    """Return the files of a path.

    Args:
        path: A file, a folder, or a pattern such as `part-*.csv`. Files of a folder whose names begin with `_` or `.`
            are ignored, as Spark and Hive do. The members of a zip archive count as files.
        table: `user`, `item` or `interaction`, for the error message.

    Returns:
        The files in the order of their names.

    Raises:
        InputError: If there is no file, or a file is not a table.
    """
    if path.is_dir():
        _refuse_table_format(path)
        paths = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
        keys = [_partition(p.relative_to(path).parts[:-1]) for p in paths]
        nothing = f"the folder {path} has no files"
    elif re.search(r"[*?\[]", str(path)) and not path.exists():
        root = Path(path.anchor or ".")
        found = sorted(root.glob(str(path.relative_to(root) if path.anchor else path)))
        if any(p.is_dir() for p in found):
            files = [(_partition(p.parts), file) for p in found for file in raw_files(p, table)]
            return [replace(file, keys={**keys, **file.keys}) for keys, file in files]
        paths = [p for p in found if p.is_file() and not _hidden(Path(p.name))]
        keys = [_partition(p.parts) for p in paths]
        nothing = f"no file matches {path}"
    else:
        paths = [path] if path.is_file() else []
        keys = [{}]
        nothing = f"{path} does not exist"
    if not paths:
        raise InputError(f"{nothing}. Pass the {table}s as CSV, parquet, JSON lines or other delimited text.")
    filled = [(p, k) for p, k in zip(paths, keys, strict=True) if p.stat().st_size]
    if not filled:
        raise InputError(f"{path} is empty. Pass a file with at least one row.")
    return [file for p, k in filled for file in _members(p, k)]


def _refuse_table_format(folder: Path) -> None:
    for name, product in _TABLE_FORMATS.items():
        if (folder / name).is_dir() and (product != "Iceberg" or any((folder / name).glob("*.metadata.json"))):
            raise InputError(
                f"{folder} is a {product} table, whose files include deleted rows. Export its current version as "
                "parquet, and pass that folder."
            )


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) and not _KEY.fullmatch(part) for part in path.parts)


def _partition(folders: tuple[str, ...]) -> dict[str, str | None]:
    """Return the values of folders such as `day=2024-01-01`."""
    matches = [match.groups() for folder in folders if (match := _KEY.fullmatch(folder))]
    return {key: None if value == _NO_VALUE else unquote(value) for key, value in matches}


def _members(path: Path, keys: dict[str, str | None]) -> Iterator[RawFile]:
    """Yield the file, or the members of a zip archive that is not a workbook."""
    with path.open("rb") as file:
        start = file.read(_START)
    if not start.startswith(b"PK\x03\x04"):
        yield _decompressed(RawFile(path.name, start, partial(_open, path), keys, path))
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is corrupt or truncated ({error}). Write the file again.") from error
    if "[Content_Types].xml" in names:
        yield RawFile(path.name, start, partial(_open, path), keys, path)
        return
    tables = [name for name in names if not name.endswith("/") and not _hidden(Path(name))]
    if not tables:
        raise InputError(f"{path} has no files. Pass an archive with one table.")
    for name in tables:
        member = RawFile(f"{path.name}/{name}", b"", partial(_open_member, path, name), keys)
        yield _decompressed(replace(member, start=member.content(_START)))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


@contextmanager
def _open_member(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive:
        try:
            member = archive.open(name)
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
            raise InputError(f"{path}: cannot read {name} ({error}). Unpack the archive and pass the file.") from error
        with member:
            yield member


@contextmanager
def _open_compressed(file: RawFile, reader: Callable[[IO[bytes]], Any]) -> Iterator[IO[bytes]]:
    with file.open() as raw, reader(raw) as decompressed:
        yield decompressed


def _decompressed(file: RawFile) -> RawFile:
    """Return the file with its content decompressed. Raises InputError if its format is not that of a table."""
    name, start = file.name, file.start
    for magic, reader in _COMPRESSED.items():
        if start.startswith(magic):
            inner = replace(file, open=partial(_open_compressed, file, reader), path=None)
            return _decompressed(replace(inner, start=inner.content(_START)))
    for magic, kind in _OTHER.items():
        if start.startswith(magic):
            raise InputError(f"{name} is {kind}.")
    if _WEB.match(start):
        raise InputError(f"{name} is a web page or an XML document, not a table. Download the table itself.")
    if start[257:262] == b"ustar":
        raise InputError(f"{name} is a tar archive; unpack it and pass the file or the folder.")
    return file
