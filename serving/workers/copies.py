"""Releases on this machine: where they lie, or one download for all workers of a service."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from two_tower.releases.release import Release, open_release, verify
from two_tower.storage import open_storage

RELEASES = "releases"  # folder, in the one that workers share, of their download


def local(releases: str, release: str, own: Path, shared: Path | None) -> Release:
    """A verified release: in place, or below `own`, which may be removed once the release is open.

    shared: the folder of the workers of a service, which keep one download there; None downloads into `own`. Below
    `own` are then links to its files: they are the same files, in memory too, and stay when the next download comes.
    Raises ReleaseError and OSError.
    """
    if shared is None:
        return open_release(releases, release, own)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, be it by a kill
        copy = shared / RELEASES / release
        if copy.is_dir() or _download(releases, release, copy):
            return Release.read(shutil.copytree(copy, own / release, copy_function=os.link))
    return open_release(releases, release, own)


def _download(releases: str, release: str, copy: Path) -> bool:
    """Put a verified download at `copy` in place of that of an earlier release; False for one that lies here anyway."""
    with tempfile.TemporaryDirectory(dir=copy.parent) as incoming:
        found = open_storage(releases).local(release, Path(incoming))
        if not found.is_relative_to(incoming):
            return False
        verify(incoming, release)
        for old in set(copy.parent.iterdir()) - {Path(incoming)}:
            shutil.rmtree(old)
        found.rename(copy)
    return True
