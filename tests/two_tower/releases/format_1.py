"""A release in format 1, as two-tower 0.1 wrote it.

Commit 4980aa7 published it with its own `publish`: the files of `parts.write`, a profile, users and an index
comparison. Only `created`, which the release's id does not cover, was set to an earlier time, so that new releases
are newer.
"""

import shutil
from pathlib import Path

ID = "20240301T120000-3e573715"
FOLDER = Path(__file__).parent / "data" / "format-1"


def copy(releases: Path) -> str:
    """Copy the release and the pointer to it into a folder of releases, and return its id."""
    shutil.copytree(FOLDER, releases, dirs_exist_ok=True)
    return ID
