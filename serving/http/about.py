"""What a release says of itself beside what it answers with: for people, never for a recommendation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from two_tower.releases.release import Release


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
    def of(cls, release: Release) -> "About":
        return cls(
            dataset=release.manifest.dataset,
            as_of=release.manifest.bounds["as_of"],
            recall=release.manifest.recall,
            users=tuple(release.users()),
            profile=(release.profile("user") or {}).get("features", {}),
        )
