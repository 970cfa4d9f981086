"""The files of one release in a storage: read, verified, downloaded."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx

from two_tower.releases import signature
from two_tower.releases.manifest import LARGEST, ONNX_FILES, File, Manifest, ReleaseError
from two_tower.storage import TEMPORARY, Storage
from two_tower.storage.local import Local, locked

ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")

_AGAIN = "Remove the release's folder and publish it again."


def read_manifest(storage: Storage, release_id: str) -> Manifest:
    """Read the manifest of a release, without its signature.

    Raises:
        ReleaseError: The release is unknown, or its manifest cannot be used.
    """
    return Manifest.from_json(_manifest_bytes(storage, release_id), release_id)


def verify(storage: Storage, release_id: str) -> Manifest:
    """Check the signature of a release and every file of it against its manifest, and return the manifest.

    Raises:
        ReleaseError: The release is unknown, torn or mixed, it holds a file that its manifest does not list, or a
            signature is required and it has none. The message names the release and the file.
    """
    _, manifest = _signed(storage, release_id)
    _check_entries(storage, manifest)
    graphs: dict[str, bytes] = {name: _read_checked(storage, manifest, name) for name in ONNX_FILES}
    for name in manifest.files.keys() - graphs.keys():
        with _missing_named(release_id, name), storage.open(f"{release_id}/{name}") as file:
            _check_hash(manifest, name, hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type] # BinaryIO has readinto
    check_onnx(manifest, graphs)
    return manifest


def read_file(storage: Storage, release_id: str, name: File) -> bytes | None:
    """Read one file of a release and check it; None if the release does not have it.

    Raises:
        ReleaseError: See `verify`.
    """
    _, manifest = _signed(storage, release_id)
    return _read_checked(storage, manifest, name) if name in manifest.files else None


def open_folder(storage: Storage, release_id: str, cache: Path) -> tuple[Path, Manifest]:
    """Verify a release on this machine: in place, or in `cache`, where a verified copy is kept.

    Exactly the files that the manifest lists are downloaded, each of at most the size that the manifest states; if it
    states none, of at most the free space of the disk.

    Args:
        storage: Holds the release.
        release_id: Id of the release.
        cache: Folder for downloads, which processes may share.

    Returns:
        The folder of the release, and its manifest.

    Raises:
        ReleaseError: See `verify`.
    """
    if storage.in_place:
        return storage.local(release_id, cache), verify(storage, release_id)
    content, manifest = _signed(storage, release_id)
    _check_entries(storage, manifest)
    cache.mkdir(parents=True, exist_ok=True)
    copies = Local(cache)
    with locked(cache):
        copy = _copy_of(copies, release_id, content)
        if copy is None:
            copies.remove_abandoned()
            _download(storage, manifest, content, cache)
            copy = verify(copies, release_id)
    return cache / release_id, copy


def sign(storage: Storage, release_id: str) -> None:
    """Sign a release if a key is configured (see `signature.sign`). Its signature by another key is replaced."""
    own = signature.sign(_manifest_bytes(storage, release_id))
    if own is not None and own != (before := _signature_bytes(storage, release_id)):
        storage.replace(f"{release_id}/{File.SIGNATURE}", own, before)


def check_onnx(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raise ReleaseError unless all ONNX files carry the manifest's embedding space, and the towers its contract."""
    contract = json.loads(manifest.contract.to_json())
    for name, content in files.items():
        metadata = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
        space = metadata.get("embedding_space")
        if space != manifest.embedding_space:
            raise ReleaseError(
                f"release {manifest.id}: {name} has the embedding space {space!r}, the manifest "
                f"{manifest.embedding_space!r}; scores across spaces are not comparable. Export and index again."
            )
        if "contract" in metadata and json.loads(metadata["contract"]) != contract:
            raise ReleaseError(f"release {manifest.id}: {name} was made for another contract than the manifest's.")


def _manifest_bytes(storage: Storage, release_id: str) -> bytes:
    if not ID.fullmatch(release_id):
        raise ReleaseError(f"{release_id[:60]!r} is not a release id. See `two-tower releases list`.")
    with _missing_named(release_id, File.MANIFEST):
        return storage.read(f"{release_id}/{File.MANIFEST}", limit=LARGEST)


def _signature_bytes(storage: Storage, release_id: str) -> bytes | None:
    try:
        return storage.read(f"{release_id}/{File.SIGNATURE}", limit=signature.LENGTH)
    except FileNotFoundError:
        return None


def _signed(storage: Storage, release_id: str) -> tuple[bytes, Manifest]:
    """The manifest of a release, its signature checked, and its bytes."""
    content = _manifest_bytes(storage, release_id)
    if signature.is_required():
        signature.check(release_id, content, _signature_bytes(storage, release_id))
    return content, Manifest.from_json(content, release_id)


def _check_entries(storage: Storage, manifest: Manifest) -> None:
    """Raise ReleaseError unless the folder holds the files of the manifest and nothing else."""
    entries = {entry.name: entry.kind for entry in storage.entries(manifest.id) if not _is_hidden(entry.name)}
    for name, kind in sorted(entries.items()):
        if kind != "file" or name not in {*manifest.files, File.MANIFEST, File.SIGNATURE}:
            raise ReleaseError(
                f"release {manifest.id} holds the {kind} {name!r:.80}. A release holds only the files that its "
                f"{File.MANIFEST} lists. Remove the {kind}, or {_AGAIN[0].lower()}{_AGAIN[1:]}"
            )
    for name in manifest.files:
        with _missing_named(manifest.id, name):
            if name not in entries:
                raise FileNotFoundError(name)


def _is_hidden(name: str) -> bool:
    """Whether it is a name such as .DS_Store or .nfs01, which systems leave in any folder and nothing reads."""
    return name.startswith(".") and name not in (".", "..")


def _read_checked(storage: Storage, manifest: Manifest, name: str) -> bytes:
    with _missing_named(manifest.id, name):
        content = storage.read(f"{manifest.id}/{name}")
    _check_hash(manifest, name, hashlib.sha256(content).hexdigest())
    return content


def _check_hash(manifest: Manifest, name: str, actual: str) -> None:
    expected = manifest.files[name]
    if actual != expected:
        raise ReleaseError(
            f"release {manifest.id}: {name} differs from the file that was published (sha256 {actual[:12]}…, the "
            f"manifest has {expected[:12]}…). {_AGAIN}"
        )


def _copy_of(copies: Local, release_id: str, manifest: bytes) -> Manifest | None:
    """The manifest of a copy that verifies and has this manifest; None if there is none."""
    if not copies.exists(f"{release_id}/{File.MANIFEST}") or _manifest_bytes(copies, release_id) != manifest:
        return None
    try:
        return verify(copies, release_id)
    except ReleaseError:  # an interrupted disk, or a file of another program
        return None


def _download(storage: Storage, manifest: Manifest, content: bytes, cache: Path) -> None:
    """Replace the copy of a release in `cache`. `content` is the manifest's."""
    free = shutil.disk_usage(cache).free
    limits = {name: manifest.sizes.get(name, free) for name in manifest.files}
    if signature.is_required():
        limits[File.SIGNATURE] = signature.LENGTH
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=cache) as incoming:
        folder = storage.local(manifest.id, Path(incoming), limits)
        (folder / File.MANIFEST).write_bytes(content)
        if (cache / manifest.id).exists():
            (cache / manifest.id).rename(Path(incoming) / "before")
        folder.rename(cache / manifest.id)


@contextmanager
def _missing_named(release_id: str, name: str) -> Iterator[None]:
    """Turn a FileNotFoundError of the block into a ReleaseError that names the release and the file."""
    try:
        yield
    except FileNotFoundError as error:
        if name == File.MANIFEST:
            raise ReleaseError(
                f"there is no release {release_id}: its {File.MANIFEST} is missing. See `two-tower releases list`; "
                "an interrupted upload is completed by publishing again."
            ) from error
        raise ReleaseError(f"release {release_id}: {name} is missing. {_AGAIN}") from error
