"""Releases: immutable folders with all files that serving needs, and the pointer to the release that serves.

    <releases>/<release id>/   the files of a release (see `manifest.File`)
    <releases>/current         the id of the release that serves

`releases` is a local folder or a URL that fsspec knows (s3://, gs://, …). A release exists once its manifest does,
which is written after all other files. The manifest holds a hash of each file and of itself, and the release holds no
other files, so every accidental change is detected. A change on purpose is detected if releases are signed (see
`signature`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from two_tower.releases import pointer, signature, stored_release
from two_tower.releases.manifest import LISTED, ONNX_FILES, REQUIRED, File, Manifest, ReleaseError
from two_tower.releases.pointer import CURRENT as CURRENT
from two_tower.releases.pointer import ActivationConflictError as ActivationConflictError
from two_tower.schema import Contract, TowerName
from two_tower.storage import Storage, open_storage


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

    The same parts and fields give the same id, and are written once. If a publisher was interrupted at any point, or
    two publish at once, the call completes the release.

    Args:
        releases: Folder or URL of the releases.
        parts: Files and folders that together hold the files of a release; other files are ignored.
        manifest: Describes the release; its format, id, time, and the hashes and sizes of its files are set here.

    Raises:
        ReleaseError: A file is missing, files do not belong together, the release could not be written completely, or
            another release has the same id.
    """
    files = _collect(parts)
    comparison = files.pop(File.ANN_COMPARISON, None)
    sealed = manifest.seal(
        {name: _sha256(path) for name, path in sorted(files.items())},
        {name: path.stat().st_size for name, path in sorted(files.items())},
        json.loads(comparison.read_text()) if comparison else None,
    )
    content = sealed.to_json().encode()
    sealed = Manifest.from_json(content, sealed.id)
    stored_release.check_onnx(sealed, {name: files[name].read_bytes() for name in ONNX_FILES})
    contents: dict[str, Path | bytes] = {**files}
    if signed := signature.sign(content):
        contents[File.SIGNATURE] = signed
    contents[File.MANIFEST] = content  # last: it completes the release
    storage = open_storage(releases)
    try:
        storage.write_folder(sealed.id, contents)
    except FileExistsError:  # it is published already, perhaps by another process at the same time
        pass
    except OSError as error:
        raise ReleaseError(_not_written(sealed.id, releases, files, error)) from error
    if stored_release.read_manifest(storage, sealed.id).sha256 != sealed.sha256:
        raise ReleaseError(
            f"{releases} holds another release with the id {sealed.id}. Remove its folder, or publish with another "
            "as_of."
        )
    stored_release.sign(storage, sealed.id)
    stored_release.verify(storage, sealed.id)
    return sealed.id


def verify(releases: str | Path, release_id: str) -> Manifest:
    """Check every file of a release against its manifest, and its signature, and return the manifest.

    Raises:
        ReleaseError: The release is unknown, torn or mixed, it holds a file that its manifest does not list, or a
            signature is required and it has none. The message names the release and the file.
    """
    return stored_release.verify(open_storage(releases), release_id)


def current(releases: str | Path) -> str | None:
    """Return the id of the release that serves; None before the first activation.

    Raises:
        ReleaseError: The pointer holds something other than a release id.
    """
    content = pointer.read(open_storage(releases))
    if content is None:
        return None
    text = pointer.text_of(content)
    if not pointer.is_release_id(text):
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
    served = stored_release.read_manifest(storage, active).contract
    if (served.user_key, served.item_key) != (contract.user_key, contract.item_key):
        return None
    content = stored_release.read_file(storage, active, File.REFERENCE)
    return None if content is None else dict(json.loads(content))


def activate(releases: str | Path, release_id: str) -> None:
    """Point to a release, atomically.

    Raises:
        ActivationConflictError: Another process activated a release while this one was verified. The pointer names
            that one.
        ReleaseError: The release does not verify, or the pointer cannot be written. The pointer is unchanged.
    """
    activate_from(releases, release_id, read_pointer(releases))


def read_pointer(releases: str | Path) -> bytes | None:
    """Return the content of the pointer, for `activate_from`; None before the first activation."""
    return pointer.read(open_storage(releases))


def activate_from(releases: str | Path, release_id: str, before: bytes | None) -> None:
    """Point to a release as `activate` does, if nobody has moved the pointer since `read_pointer` returned `before`."""
    storage = open_storage(releases)
    stored_release.verify(storage, release_id)
    pointer.move(storage, release_id, before)


def rollback(releases: str | Path) -> str:
    """Point to the release that was published before the current one, and return its id.

    Raises:
        ActivationConflictError: Another process activated a release in the meantime.
        ReleaseError: No release is active, or the current one is the oldest.
    """
    before = read_pointer(releases)
    older = previous(releases)
    activate_from(releases, older, before)
    return older


def previous(releases: str | Path) -> str:
    """Return the id of the release that was published before the current one.

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
    return older[0]


def list_releases(releases: str | Path) -> list[Listed]:
    """List all releases, the newest first; those whose manifest cannot be read come last, with the reason."""
    storage = open_storage(releases)
    try:
        active = current(releases)
    except ReleaseError:  # a torn pointer must not hide the releases that could be activated
        active = None
    names = filter(stored_release.ID.fullmatch, storage.folders())
    listed = [_listed(storage, name, current=name == active) for name in names]
    return sorted(listed, key=lambda one: (one.manifest.created if one.manifest else "", one.id), reverse=True)


def open_release(releases: str | Path, release_id: str, cache: Path) -> Release:
    """Verify a release on this machine: in place, or in `cache` (see `stored_release.open_folder`).

    Raises:
        ReleaseError: See `verify`.
    """
    return Release(*stored_release.open_folder(open_storage(releases), release_id, cache))


def _collect(parts: Iterable[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for part in parts:
        for path in sorted(part.iterdir()) if part.is_dir() else [part]:
            if path.name in LISTED:
                if path.name in files:
                    raise ReleaseError(f"a release has one {path.name}; got {files[path.name]} and {path}.")
                files[path.name] = path
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise ReleaseError(f"a release needs {', '.join(REQUIRED)}; {', '.join(missing)} is not among its parts.")
    return files


def _listed(storage: Storage, name: str, *, current: bool) -> Listed:
    try:
        return Listed(id=name, current=current, manifest=stored_release.read_manifest(storage, name))
    except ReleaseError as error:
        return Listed(id=name, current=current, manifest=None, problem=str(error))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_written(release_id: str, releases: str | Path, files: Mapping[str, Path], error: OSError) -> str:
    size = sum(path.stat().st_size for path in files.values())
    return (
        f"release {release_id} ({size / 1e6:.1f} MB) could not be written to {releases}: {error}. "
        "It is not published, and the current release is unchanged. Free some space or correct the path, and run again."
    )
