"""What a release says of itself beside what it answers with: for people, never for a recommendation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from two_tower.releases.release import MANIFEST, PROFILE, USERS


@dataclass(frozen=True, kw_only=True)
class About:
    """dataset, as_of: of the manifest. recall: recall@20 on the test window, None where it was not measured.

    users: ids of users seen lately, none where the release names none. profile: of each user feature (see
    `two_tower.statistics.profile.profile`), empty where the release has none.
    """

    dataset: str
    as_of: str
    recall: float | None
    users: tuple[str | int, ...]
    profile: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "About":
        """Read it from the folder of a verified release."""
        manifest = json.loads((folder / MANIFEST).read_text())
        return cls(
            dataset=manifest["dataset"],
            as_of=manifest["bounds"]["as_of"],
            recall=recall(manifest),
            users=tuple(_read(folder / USERS, [])),
            profile=_read(folder / PROFILE, {}).get("user", {}).get("features", {}),
        )


def recall(manifest: Mapping[str, Any]) -> float | None:
    """recall@20 of a manifest."""
    value: float | None = manifest["metrics"].get("two_tower", {}).get("recall@20")
    return value


def _read(path: Path, absent: Any) -> Any:
    return json.loads(path.read_text()) if path.is_file() else absent
