"""The pointer to the release that serves: a small file that is replaced atomically, and by one process at a time."""

from two_tower.errors import ConflictError
from two_tower.releases.manifest import ReleaseError
from two_tower.releases.stored_release import ID
from two_tower.storage import Storage

CURRENT = "current"
LARGEST = 4096  # bytes


class ActivationConflictError(ReleaseError):
    """Another process has activated a release in the meantime. The pointer names that release."""


def read(storage: Storage) -> bytes | None:
    """Return the content of the pointer; None before the first activation."""
    try:
        return storage.read(CURRENT, limit=LARGEST)
    except FileNotFoundError:
        return None


def text_of(content: bytes | None) -> str:
    """Return the text of a pointer, which may be torn; empty if there is none."""
    return (content or b"").decode(errors="replace").strip()


def is_release_id(text: str) -> bool:
    """Return whether a text is the id of a release, which may not exist."""
    return bool(ID.fullmatch(text))


def move(storage: Storage, release_id: str, before: bytes | None) -> None:
    """Point to a release, if the pointer still has the content `before`.

    Raises:
        ActivationConflictError: Another process has moved the pointer.
        ReleaseError: The pointer cannot be written, and is unchanged.
    """
    try:
        storage.replace(CURRENT, f"{release_id}\n".encode(), before)
    except ConflictError as error:
        raise conflict(storage, release_id) from error
    except OSError as error:
        raise ReleaseError(
            f"release {release_id} could not be activated: {error}. The pointer is unchanged."
        ) from error


def conflict(storage: Storage, release_id: str) -> ActivationConflictError:
    """Make the error for a release that was not activated because another process has moved the pointer."""
    now = text_of(read(storage))[:60] or "none"
    return ActivationConflictError(
        f"release {release_id} was not activated: another process changed the current release to {now} in the "
        "meantime. See `two-tower releases list`, and activate again if it is still right."
    )
