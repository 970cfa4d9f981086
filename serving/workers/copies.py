"""Local files of releases: in place, or one download for all workers of a service."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from two_tower.releases.release import Release, open_release
from two_tower.storage import open_storage

RELEASES = "releases"  # in the shared folder of the workers: their download


def local(releases: str, release: str, own: Path, shared: Path | None) -> Release:
    """Open a verified release: in place, or in `own`.

    Args:
        releases: folder or URL of the releases.
        release: id of the release.
        own: folder for a download. It may be removed once the release is loaded.
        shared: folder that the workers share. They keep one download there, and `own` gets hard links to its files,
            which stay valid when the next download replaces it. None downloads into `own`.

    Raises:
        ReleaseError: if the release is not as it was published.
        OSError: if it cannot be read.
    """
    if shared is None or open_storage(releases).in_place:
        return open_release(releases, release, own)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, also by a kill
        copy = shared / RELEASES / release
        if not copy.is_dir():
            _download(releases, release, copy)
        return Release.read(shutil.copytree(copy, own / release, copy_function=os.link))


def _download(releases: str, release: str, copy: Path) -> None:
    """Replace the download at `copy` by a verified one of this release."""
    with tempfile.TemporaryDirectory(dir=copy.parent) as incoming:
        folder = open_release(releases, release, Path(incoming)).folder
        for old in set(copy.parent.iterdir()) - {Path(incoming)}:
            shutil.rmtree(old)
        folder.rename(copy)
