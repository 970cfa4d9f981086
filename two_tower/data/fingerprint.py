"""Detect changes of a feature repository and its data since the last run."""

import contextlib
import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from feast import FileSource

from two_tower.data.definitions import parse
from two_tower.data.fetch import fetch, local_path
from two_tower.errors import InputError
from two_tower.object_stores import is_remote, versions
from two_tower.retries import retried

_DEFINITIONS = (".py", ".yaml", ".yml", ".json", ".sql")  # feature_store.yaml, modules, and files that modules may read


def fingerprint(repo: Path) -> str:
    """Return a hash of the definitions of a feature repository and of the state of every source, without reading data.

    The state of a local file is its name, size and modification time; of an object in a store, its name, size and
    version. The state of a source in a warehouse is unknown. With such a source the fingerprint is different at each
    call, so that no step reuses stale data.

    Args:
        repo: The folder of the Feast feature repository.

    Returns:
        16 hexadecimal digits.

    Raises:
        InputError: If the definitions cannot be imported.
    """
    return _fingerprint(repo, _modified)


@retried
def address_fingerprint(address: str) -> str:
    """Return the fingerprint of a repository in an object store or on a volume.

    A repository in an object store is downloaded for it, and its files are hashed, because a copy has new modification
    times.

    Args:
        address: As for `fetch`.

    Returns:
        16 hexadecimal digits.

    Raises:
        InputError: As for `fetch` and `fingerprint`.
        StorageError: The store cannot be reached, or refuses access.
    """
    if not is_remote(address):
        return fingerprint(local_path(address))
    with tempfile.TemporaryDirectory() as folder:
        fetch(address, Path(folder))
        return _fingerprint(Path(folder), _digest)


def _fingerprint(repo: Path, state_of_file: Callable[[Path], str]) -> str:
    repo = repo.resolve()
    digest = hashlib.sha256()
    for path in sorted(path for path in repo.rglob("*") if path.suffix in _DEFINITIONS):
        digest.update(path.read_bytes())
    sources = sorted(parse(repo).data_sources, key=lambda source: str(source.name))
    for source in sources:
        for line in _state(source, repo, state_of_file):
            digest.update(line.encode())
    return digest.hexdigest()[:16]


def _state(source: object, repo: Path, state_of_file: Callable[[Path], str]) -> Iterator[str]:
    """Yield a line for each file of a source; a line that is never the same if their state is unknown."""
    files: dict[str, str] = {}
    if isinstance(source, FileSource) and not is_remote(source.path):
        path = repo / local_path(source.path)
        names = sorted(p for p in [path, *path.rglob("*")] if p.is_file())
        files = {str(p.relative_to(repo) if p.is_relative_to(repo) else p): state_of_file(p) for p in names}
    elif isinstance(source, FileSource) and not source.s3_endpoint_override:
        with contextlib.suppress(OSError, ImportError, InputError, ValueError):  # the pull reports the error
            files = versions(source.path)
    for name, state in files.items():
        yield f"{name} {state}\n"
    if not files:
        yield uuid.uuid4().hex


def _modified(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
