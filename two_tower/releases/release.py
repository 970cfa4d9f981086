"""Releases: immutable folders with all files that serving needs, and the pointer to the release that serves.

    <releases>/<release id>/   the files of a release (see `manifest.File`)
    <releases>/current         the id of the release that serves

`releases` is a local folder or a URL that fsspec knows (s3://, gs://, …). A release gets its name after all of its
files are written. Its id ends in a hash of its manifest, and the manifest holds a hash of each file, so every change
is detected.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from two_tower.releases.manifest import ONNX_FILES, REQUIRED, File, Manifest, ReleaseError
from two_tower.schema import Contract, TowerName
from two_tower.storage import Storage, open_storage

CURRENT = "current"

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Release:
    """A release in a folder on this machine.

    Attributes:
        folder: Holds the files of the release.
        manifest: The manifest in that folder.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def read(cls, folder: Path) -> "Release":
        """Read the manifest of a release whose files are already verified (see `open_release`).

        Raises:
            ReleaseError: The manifest of the folder is missing or cannot be used.
        """
        path = folder / File.MANIFEST
        if not path.is_file():
            raise ReleaseError(f"{folder} is not a release: {File.MANIFEST} is missing. Check the path.")
        return cls(folder, Manifest.from_json(path.read_bytes()))

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def contract(self) -> Contract:
        return self.manifest.contract

    def path(self, file: File) -> Path:
        """Return the path of a file, which exists if the file is required."""
        return self.folder / file

    def has(self, file: File) -> bool:
        return file in self.manifest.files

    def profile(self, tower: TowerName) -> dict[str, Any] | None:
        """Return the profile of a tower's features (see `statistics.profile`); None if the release has none."""
        profiles = json.loads(self.path(File.PROFILE).read_text()) if self.has(File.PROFILE) else {}
        return profiles.get(tower)

    def users(self) -> list[str | int]:
        """Return the ids of recently active users, the newest first; empty if the release has none."""
        return list(json.loads(self.path(File.USERS).read_text())) if self.has(File.USERS) else []


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One release of a listing.

    Attributes:
        manifest: None if it cannot be read.
        problem: Why the manifest cannot be read; empty if it can.
    """

    id: str
    current: bool
    manifest: Manifest | None
    problem: str = ""


def publish(releases: str | Path, parts: Iterable[Path], manifest: Manifest) -> str:
    """Write a release and return its id; nothing points to it yet (see `activate`).

    The same parts and fields give the same id, and are written once.

    Args:
        releases: Folder or URL of the releases.
        parts: Files and folders that together hold the files of a release; other files are ignored.
        manifest: Describes the release; its format, id, time and file hashes are set here.

    Raises:
        ReleaseError: A file is missing, files do not belong together, or the release could not be written completely.
            No part of it is kept.
    """
    files = _collect(parts)
    sealed = manifest.seal({name: _sha256(path) for name, path in sorted(files.items())})
    content = sealed.to_json().encode()
    sealed = Manifest.from_json(content, sealed.id)
    _check_onnx(sealed, {name: files[name].read_bytes() for name in ONNX_FILES})
    storage = open_storage(releases)
    if sealed.id not in storage.folders():
        try:
            storage.write_folder(sealed.id, {**files, File.MANIFEST: content})
        except OSError as error:
            if sealed.id not in storage.folders():  # else another process has just published the same release
                raise ReleaseError(_not_written(sealed.id, releases, files, error)) from error
    verify(releases, sealed.id)
    return sealed.id


def verify(releases: str | Path, release_id: str) -> Manifest:
    """Check every file of a release against its manifest, and return the manifest.

    Raises:
        ReleaseError: The release is unknown, torn or mixed. The message names the release and the file.
    """
    storage = open_storage(releases)
    manifest = _manifest(storage, release_id)
    for name, expected in manifest.files.items():
        with _missing_named(release_id, name), storage.open(f"{release_id}/{name}") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # BinaryIO has readinto
        if digest != expected:
            raise ReleaseError(
                f"release {release_id}: {name} differs from the file that was published (sha256 {digest[:12]}…, the "
                f"manifest has {expected[:12]}…). Remove the release's folder and publish it again."
            )
    _check_onnx(manifest, {name: storage.read(f"{release_id}/{name}") for name in ONNX_FILES})
    return manifest


def current(releases: str | Path) -> str | None:
    """Return the id of the release that serves; None before the first activation.

    Raises:
        ReleaseError: The pointer holds something other than a release id.
    """
    try:
        text = open_storage(releases).read(CURRENT).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    if not _ID.fullmatch(text):
        raise ReleaseError(f"{releases}/{CURRENT} holds {text[:60]!r}, which is not a release id. Activate a release.")
    return text


def resolve(releases: str | Path, release_id: str | None = None) -> str:
    """Return the given id, or that of the current release.

    Raises:
        ReleaseError: No id is given and no release is active.
    """
    active = release_id or current(releases)
    if not active:
        raise ReleaseError(
            f"no release of {releases} is active. Activate one with `two-tower releases activate`, or name one of "
            "`two-tower releases list`."
        )
    return active


def served_reference(releases: str | Path, contract: Contract) -> dict[str, Any] | None:
    """Return the statistics of the data of the current release (see `statistics.reference.describe`).

    Returns:
        None if no release is active, if it has no reference, or if its users or items have other keys.
    """
    active = current(releases)
    if active is None:
        return None
    storage = open_storage(releases)
    manifest = _manifest(storage, active)
    keys = (manifest.contract.user_key, manifest.contract.item_key)
    if File.REFERENCE not in manifest.files or keys != (contract.user_key, contract.item_key):
        return None
    with _missing_named(active, File.REFERENCE):
        return dict(json.loads(storage.read(f"{active}/{File.REFERENCE}")))


def activate(releases: str | Path, release_id: str) -> None:
    """Point to a release, atomically.

    Raises:
        ReleaseError: The release does not verify, or the pointer cannot be written. The pointer is unchanged.
    """
    verify(releases, release_id)
    try:
        open_storage(releases).replace_text(CURRENT, f"{release_id}\n")
    except OSError as error:
        raise ReleaseError(
            f"release {release_id} could not be activated: {error}. The pointer is unchanged."
        ) from error


def rollback(releases: str | Path) -> str:
    """Point to the release that was published before the current one, and return its id.

    Raises:
        ReleaseError: No release is active, or the current one is the oldest.
    """
    active = current(releases)
    if active is None:
        raise ReleaseError(f"no release of {releases} is active, so there is nothing to roll back. Activate one.")
    ids = [one.id for one in list_releases(releases) if not one.problem]
    older = ids[ids.index(active) + 1 :] if active in ids else ids
    if not older:
        raise ReleaseError(f"release {active} is the oldest of {releases}; there is none before it to roll back to.")
    activate(releases, older[0])
    return older[0]


def list_releases(releases: str | Path) -> list[Listed]:
    """List all releases, the newest first; those whose manifest cannot be read come last, with the reason."""
    storage = open_storage(releases)
    try:
        active = current(releases)
    except ReleaseError:  # a torn pointer must not hide the releases that could be activated
        active = None
    listed = [_listed(storage, name, current=name == active) for name in storage.folders() if _ID.fullmatch(name)]
    return sorted(listed, key=lambda one: (one.manifest.created if one.manifest else "", one.id), reverse=True)


def open_release(releases: str | Path, release_id: str, cache: Path) -> Release:
    """Verify a release on this machine: in place, or downloaded into `cache`."""
    folder = open_storage(releases).local(release_id, cache)
    return Release(folder, verify(folder.parent, release_id))


def _collect(parts: Iterable[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for part in parts:
        for path in sorted(part.iterdir()) if part.is_dir() else [part]:
            if path.name in set(File) - {File.MANIFEST}:
                if path.name in files:
                    raise ReleaseError(f"a release has one {path.name}; got {files[path.name]} and {path}.")
                files[path.name] = path
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise ReleaseError(f"a release needs {', '.join(REQUIRED)}; {', '.join(missing)} is not among its parts.")
    return files


def _manifest(storage: Storage, release_id: str) -> Manifest:
    if not _ID.fullmatch(release_id):
        raise ReleaseError(f"{release_id[:60]!r} is not a release id. See `two-tower releases list`.")
    with _missing_named(release_id, File.MANIFEST):
        content = storage.read(f"{release_id}/{File.MANIFEST}")
    return Manifest.from_json(content, release_id)


@contextmanager
def _missing_named(release_id: str, name: str) -> Iterator[None]:
    """Turn a FileNotFoundError of the block into a ReleaseError that names the release and the file."""
    try:
        yield
    except FileNotFoundError as error:
        if name == File.MANIFEST:
            raise ReleaseError(f"there is no release {release_id}. See `two-tower releases list`.") from error
        raise ReleaseError(
            f"release {release_id}: {name} is missing. Remove the release's folder and publish it again."
        ) from error


def _listed(storage: Storage, name: str, *, current: bool) -> Listed:
    try:
        return Listed(id=name, current=current, manifest=_manifest(storage, name))
    except ReleaseError as error:
        return Listed(id=name, current=current, manifest=None, problem=str(error))


def _check_onnx(manifest: Manifest, files: Mapping[str, bytes]) -> None:
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_written(release_id: str, releases: str | Path, files: Mapping[str, Path], error: OSError) -> str:
    size = sum(path.stat().st_size for path in files.values())
    return (
        f"release {release_id} ({size / 1e6:.1f} MB) could not be written to {releases}: {error}. "
        "Nothing of it was kept, and the current release is unchanged. Free some space or correct the path, and run "
        "again."
    )
