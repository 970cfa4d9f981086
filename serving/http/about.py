"""Description of a release for display. Recommendations do not depend on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from two_tower.releases.release import Release


@dataclass(frozen=True, kw_only=True)
class About:
    """Description of a release.

    Attributes:
        dataset: name of the data set.
        as_of: end of the data, ISO 8601.
        recall: recall@20 on the test window; None if it was not measured.
        users: ids of recent users; empty if the release lists none.
        profile: profile of each user feature (see `two_tower.statistics.profile.profile`); empty if there is none.
    """

    dataset: str
    as_of: str
    recall: float | None
    users: tuple[str | int, ...]
    profile: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, release: Release) -> "About":
        """Read the description of a verified release."""
        return cls(
            dataset=release.manifest.dataset,
            as_of=release.manifest.bounds["as_of"],
            recall=release.manifest.recall,
            users=tuple(release.users()),
            profile=(release.profile("user") or {}).get("features", {}),
        )
