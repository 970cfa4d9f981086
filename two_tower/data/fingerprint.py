"""Detect changes of a feature repository and its data since the last run, without reading the data."""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from feast import FileSource

from two_tower.data.definitions import CONFIG_FILE, parse


def fingerprint(repo: Path) -> str:
    """Return a hash of the definitions and of the name, size and modification time of every source file.

    The state of a source that is not a local file (a warehouse, an object store) is unknown. With such a source the
    fingerprint is different at each call, so that no step reuses stale data.

    Args:
        repo: The folder of the Feast feature repository.

    Returns:
        16 hexadecimal digits.

    Raises:
        InputError: If the definitions cannot be imported.
    """
    repo = repo.resolve()
    digest = hashlib.sha256()
    for path in sorted([*repo.rglob("*.py"), repo / CONFIG_FILE]):
        digest.update(path.read_bytes())
    sources = sorted(parse(repo).data_sources, key=lambda source: str(source.name))
    for source in sources:
        for line in _state(source, repo):
            digest.update(line.encode())
    return digest.hexdigest()[:16]


def _state(source: object, repo: Path) -> Iterator[str]:
    path = repo / source.path if isinstance(source, FileSource) and "://" not in source.path else None
    if path is None or not path.exists():
        yield uuid.uuid4().hex
        return
    for file in sorted(p for p in [path, *path.rglob("*")] if p.is_file()):
        status = file.stat()
        yield f"{file} {status.st_size} {status.st_mtime_ns}\n"
