"""Training-serving skew: compare the offline store, the online store and the live service for the same users.

The check compares five layers in order, so that it reports the first difference and not its consequences:

materialisation   values of the online store, and the values that training would read at the same time
type              values of the online store, and the dtypes that the towers were trained with
encoder           embeddings of the service, and embeddings of the release's tower for the same values
store             responses of the service for a user id, and for the values that the repository's online store has
index             responses of the service, and an exact search over the item embeddings of the release
"""

import contextlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
from feast import FeatureStore

from two_tower.checks.skew_service import compare_service, served_release
from two_tower.checks.skew_stores import compare_types, compare_values, mistyped, online_rows
from two_tower.data import sources
from two_tower.data.repository import apply, open_store, view
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.releases.release import Release, open_release, resolve
from two_tower.schema import INTERACTIONS_VIEW

USERS = 100


def check(repo: Path, release: Release, address: str, users: int = USERS) -> Verdict:
    """Compare the layers for the users with the newest interactions.

    Args:
        repo: The feature repository of the training run.
        release: The release that the service should serve.
        address: The address of the service, such as http://localhost:8080.
        users: The number of users to compare.

    Returns:
        The verdict of the gate `skew`. Its details are `layers` (the numbers of compared and of different users or
        values, by layer), `release`, `served` (the release that the service reports) and `users`.

    Raises:
        InputError: If the service does not respond, or there are no interactions.
    """
    layers: dict[str, dict[str, int]] = {}
    reasons: list[str] = []
    apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        user_ids = _newest_users(store, release, users)
        online = online_rows(store, release.contract, user_ids)
        reasons += compare_values(store, release, user_ids, online, layers)
    now = datetime.now(UTC)  # the service reads at the time of the request
    rows = [{name: value for name, value in row.values_at(now).items() if value is not None} for row in online]
    reasons += compare_types(release.contract, rows, layers)
    served = served_release(address)
    typed = [i for i, row in enumerate(rows) if row and not mistyped(release.contract.user, row)]
    if typed and not layers["type"]["differ"]:
        typed_rows = [rows[i] for i in typed]
        reasons += compare_service(address, release, [user_ids[i] for i in typed], typed_rows, layers, served)
    return Verdict(
        gate="skew",
        passed=not reasons,
        reasons=tuple(reasons),
        details={"layers": layers, "release": release.id, "served": served, "users": len(user_ids)},
    )


def check_release(repo: Path, releases: str, release: str, address: str, users: int = USERS) -> Verdict:
    """Run `check` for a release of a releases folder or address.

    Args:
        repo: The feature repository of the training run.
        releases: The folder or address of the releases.
        release: The id of the release. "": the current release.
        address: The address of the service, such as http://localhost:8080.
        users: The number of users to compare.

    Returns:
        The verdict of the gate `skew`; see `check`.

    Raises:
        InputError: If the release does not exist, the service does not respond, or there are no interactions.
    """
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        return check(repo, open_release(releases, resolve(releases, release), Path(cache)), address, users)


def _newest_users(store: FeatureStore, release: Release, count: int) -> list[str | int]:
    source = view(store, INTERACTIONS_VIEW, "the skew check reads its users")
    table = sources.read(store, source, [release.contract.user_key], until=release.manifest.as_of)
    stamp = source.batch_source.timestamp_field
    order = pc.sort_indices(table, sort_keys=[(stamp, "descending")])
    newest = table[release.contract.user_key].take(order).unique().slice(0, count).to_pylist()
    if not newest:
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has no rows up to {release.manifest.as_of}. The skew check needs "
            "users: check the source of the view."
        )
    return newest
