"""Releases: immutable folders that hold all that serving needs, and the pointer to the one that serves.

    <releases>/<release id>/   manifest.json, the two towers, the index, items.parquet, profile.json, feature_store.yaml
    <releases>/current         the id of the release that serves

`releases` is a local folder or a URL that fsspec knows (s3://, gs://, …). A release is named when all of it is written;
its id ends in a hash of its manifest, and the manifest holds a hash of each file, so that nothing can change unseen.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx

from two_tower.errors import InputError
from two_tower.schema import Contract
from two_tower.storage import Storage, open_storage

MANIFEST = "manifest.json"
CURRENT = "current"
FEATURE_STORE = "feature_store.yaml"
ITEMS = "items.parquet"
ONNX_FILES = ("user_tower.onnx", "item_tower.onnx", "index.onnx")
REQUIRED = (*ONNX_FILES, ITEMS)
CHOICE = "choice.json"
PROFILE = "profile.json"
USERS = "users.json"
REFERENCE = "reference.json"  # what the data were like, for the next data gate
OPTIONAL = ("index.onnx.data", PROFILE, USERS, REFERENCE, CHOICE, FEATURE_STORE)
# given by the pipeline
FIELDS = ("contract", "embedding_space", "bounds", "dataset", "metrics", "gates", "settings", "versions")

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")


class ReleaseError(InputError):
    """A release that is torn, mixed, unknown or could not be written; the message names the release and the file."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One release of a listing. problem: why its manifest cannot be read, empty where it can."""

    id: str
    current: bool
    manifest: Mapping[str, Any]
    problem: str = ""


def publish(releases: str | Path, parts: Iterable[Path], said: Mapping[str, Any]) -> str:
    """Write a release and return its id; nothing points to it yet (see `activate`).

    parts: files and folders that together hold the files of a release (REQUIRED, and OPTIONAL where there are any);
    other files are left out. said: FIELDS of the manifest; the id, the time and the files' hashes are added here.
    The same parts and fields give the same id, and are written once.

    Raises ReleaseError where a file or a field is missing, where files do not belong together, and where the release
    could not be written in full: then no part of it stays.
    """
    files = _collect(parts)
    body = {name: _required(said, name) for name in FIELDS}
    body["files"] = {name: _sha256(path) for name, path in sorted(files.items())}
    body = json.loads(json.dumps(body))  # what a reader of the manifest will see, for the hash
    release = _id_of(body)
    _check_onnx(release, body, {name: files[name].read_bytes() for name in ONNX_FILES})
    storage = open_storage(releases)
    if release not in storage.folders():
        whole = {"id": release, "created": datetime.now(UTC).isoformat(timespec="milliseconds"), **body}
        try:
            storage.write_folder(release, {**files, MANIFEST: json.dumps(whole, indent=2).encode()})
        except OSError as error:
            if release not in storage.folders():  # else another process has just published the same
                raise ReleaseError(_unwritten(release, releases, files, error)) from error
    verify(releases, release)
    return release


def verify(releases: str | Path, release: str) -> dict[str, Any]:
    """The manifest of a release, once each file has been found to be as it was published.

    Raises ReleaseError, naming the release and the file, for a release that is unknown, torn or mixed.
    """
    storage = open_storage(releases)
    manifest = _manifest(storage, release)
    for name, expected in manifest["files"].items():
        with _missing_named(release, name), storage.open(f"{release}/{name}") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # BinaryIO has readinto
        if found != expected:
            raise ReleaseError(
                f"release {release}: {name} is not the file that was published (sha256 {found[:12]}…, the manifest "
                f"says {expected[:12]}…). Remove the release's folder and publish it again."
            )
    _check_onnx(release, manifest, {name: storage.read(f"{release}/{name}") for name in ONNX_FILES})
    return manifest


def current(releases: str | Path) -> str | None:
    """The id of the release that serves; None where none has been activated.

    Raises ReleaseError where the pointer holds something that is no release id.
    """
    try:
        text = open_storage(releases).read(CURRENT).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    if not _ID.fullmatch(text):
        raise ReleaseError(f"{releases}/{CURRENT} holds {text[:60]!r}, which is no release id. Activate a release.")
    return text


def served_reference(releases: str | Path, contract: Contract) -> dict[str, Any] | None:
    """What the data of the release that serves were like (see `reference.describe`).

    None where no release is active, where it has none, and where it is about other users or items.
    """
    active = current(releases)
    if active is None:
        return None
    storage = open_storage(releases)
    manifest = _manifest(storage, active)
    of = Contract.from_dict(manifest["contract"])
    if REFERENCE not in manifest["files"] or (of.user_key, of.item_key) != (contract.user_key, contract.item_key):
        return None
    with _missing_named(active, REFERENCE):
        return dict(json.loads(storage.read(f"{active}/{REFERENCE}")))


def activate(releases: str | Path, release: str) -> None:
    """Point to a release, at once and as a whole. Raises ReleaseError, and changes nothing, unless it verifies."""
    verify(releases, release)
    try:
        open_storage(releases).replace_text(CURRENT, f"{release}\n")
    except OSError as error:
        raise ReleaseError(f"release {release} could not be activated: {error}. The pointer is as it was.") from error


def rollback(releases: str | Path) -> str:
    """Point to the release published before the current one, and return its id. Raises ReleaseError without one."""
    now = current(releases)
    if now is None:
        raise ReleaseError(f"no release of {releases} is active, so there is nothing to roll back. Activate one.")
    ids = [one.id for one in list_releases(releases) if not one.problem]
    older = ids[ids.index(now) + 1 :] if now in ids else ids
    if not older:
        raise ReleaseError(f"release {now} is the oldest of {releases}; there is none before it to roll back to.")
    activate(releases, older[0])
    return older[0]


def list_releases(releases: str | Path) -> list[Listed]:
    """All releases, the newest first; those whose manifest cannot be read come last, with the reason."""
    storage = open_storage(releases)
    try:
        now = current(releases)
    except ReleaseError:  # a torn pointer must not hide what there is to activate
        now = None
    listed = [_listed(storage, name, current=name == now) for name in storage.folders() if _ID.fullmatch(name)]
    return sorted(listed, key=lambda one: (one.manifest.get("created", ""), one.id), reverse=True)


def local_copy(releases: str | Path, release: str, cache: Path) -> Path:
    """The folder of a release on this machine: in place, or downloaded into `cache` and verified there."""
    folder = open_storage(releases).local(release, cache)
    verify(folder.parent, release)
    return folder


def _collect(parts: Iterable[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for part in parts:
        for path in sorted(part.iterdir()) if part.is_dir() else [part]:
            if path.name in (*REQUIRED, *OPTIONAL):
                if path.name in files:
                    raise ReleaseError(f"a release has one {path.name}; got {files[path.name]} and {path}.")
                files[path.name] = path
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise ReleaseError(f"a release needs {', '.join(REQUIRED)}; {', '.join(missing)} is not among its parts.")
    return files


def _required(manifest: Mapping[str, Any], name: str) -> Any:
    if name not in manifest:
        raise ReleaseError(f"a manifest needs the field {name!r}; got {', '.join(sorted(manifest)) or 'none'}.")
    return manifest[name]


def _id_of(body: Mapping[str, Any]) -> str:
    """as_of and the first 8 hex digits of the hash of all that the manifest says, but for its id and its time."""
    # Whatever fields it has: those of another version's releases are told from torn ones by the same hash.
    said = {name: value for name, value in body.items() if name not in ("id", "created")}
    # What was measured of the index is another each time, and makes no other release.
    said["files"] = {name: digest for name, digest in body["files"].items() if name != CHOICE}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    as_of = datetime.fromisoformat(body["bounds"]["as_of"]).astimezone(UTC)
    return f"{as_of:%Y%m%dT%H%M%S}-{digest[:8]}"


def _manifest(storage: Storage, release: str) -> dict[str, Any]:
    """A release's manifest, found to be what was published."""
    if not _ID.fullmatch(release):
        raise ReleaseError(f"{release!r} is no release id. See `two-tower releases list`.")
    torn = f"release {release}: {MANIFEST} is torn or changed. Remove the release's folder and publish it again."
    try:
        with _missing_named(release, MANIFEST):
            manifest = json.loads(storage.read(f"{release}/{MANIFEST}"))
        if _id_of(manifest) != release or set(REQUIRED) - set(manifest["files"]):
            raise ReleaseError(torn)
        Contract.from_dict(manifest["contract"])
    except (ValueError, KeyError, TypeError) as error:
        raise error if isinstance(error, ReleaseError) else ReleaseError(torn) from error
    return dict(manifest)


@contextmanager
def _missing_named(release: str, name: str) -> Iterator[None]:
    """Turn a FileNotFoundError of the block into a ReleaseError that names the release and the file."""
    try:
        yield
    except FileNotFoundError as error:
        if name == MANIFEST:
            raise ReleaseError(f"there is no release {release}. See `two-tower releases list`.") from error
        raise ReleaseError(
            f"release {release}: {name} is missing. Remove the release's folder and publish it again."
        ) from error


def _listed(storage: Storage, name: str, *, current: bool) -> Listed:
    try:
        return Listed(id=name, current=current, manifest=_manifest(storage, name))
    except ReleaseError as error:
        return Listed(id=name, current=current, manifest={}, problem=str(error))


def _check_onnx(release: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Raise ReleaseError unless all ONNX files carry the manifest's embedding space, and the towers its contract."""
    for name, content in files.items():
        metadata = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
        space = metadata.get("embedding_space")
        if space != manifest["embedding_space"]:
            raise ReleaseError(
                f"release {release}: {name} has the embedding space {space!r}, the manifest "
                f"{manifest['embedding_space']!r}; scores across spaces mean nothing. Export and index again."
            )
        if "contract" in metadata and json.loads(metadata["contract"]) != manifest["contract"]:
            raise ReleaseError(f"release {release}: {name} was made for another contract than the manifest's.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwritten(release: str, releases: str | Path, files: Mapping[str, Path], error: OSError) -> str:
    size = sum(path.stat().st_size for path in files.values())
    return (
        f"release {release} ({size / 1e6:.1f} MB) could not be written to {releases}: {error}. "
        "Nothing of it was kept, and the current release is as it was. Make room or mend the path, and run again."
    )
