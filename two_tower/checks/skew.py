"""Where training and serving part: the same users, asked of the offline store, the online store and the live service.

Four layers, each compared with the one before it, so that the first that differs is named and not its consequences:

materialisation   the online store's values beside those that training would read as of the same instant
type              the online store's values beside the dtypes that the towers were trained on
encoder           the service's embeddings beside the release's own tower on the same values
index             the service's answers beside an exact search over the release's own item embeddings

and between the last two `store`: a service that answers otherwise by a user's id than for the values that we read.
"""

import contextlib
import tempfile
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
    """Compare the layers for the users who interacted last.

    repo: the feature repository that was trained on. address: of the service, such as http://localhost:8080.
    details: `layers`, by name how many users (or features) were compared and how many differ; `served`, the release
    that the service says it has. Raises InputError where the service does not answer.
    """
    layers: dict[str, dict[str, int]] = {}
    reasons: list[str] = []
    apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        asked = _newest_users(store, release, users)
        online = online_rows(store, release.contract, asked)
        reasons += compare_values(store, release, asked, online, layers)
    rows = [
        {f.name: value for f in release.contract.user if (value := row.values[f.name]) is not None} for row in online
    ]
    reasons += compare_types(release.contract, rows, layers)
    served = served_release(address)
    typed = [i for i, row in enumerate(rows) if row and not mistyped(release.contract.user, row)]
    if typed and not layers["type"]["differ"]:
        good = [rows[i] for i in typed]
        reasons += compare_service(address, release, [asked[i] for i in typed], good, layers, served)
    return Verdict(
        gate="skew",
        passed=not reasons,
        reasons=tuple(reasons),
        details={"layers": layers, "release": release.id, "served": served, "users": len(asked)},
    )


def check_release(repo: Path, releases: str, release: str, address: str, users: int = USERS) -> Verdict:
    """`check` for a release by its id, or for the current one of a folder or an address of releases where it is empty.

    Raises InputError where there is none, too.
    """
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        return check(repo, open_release(releases, resolve(releases, release), Path(cache)), address, users)


def _newest_users(store: FeatureStore, release: Release, count: int) -> list[str | int]:
    source = view(store, INTERACTIONS_VIEW, "its users are asked for")
    table = sources.read(store, source, [release.contract.user_key], until=release.manifest.as_of)
    stamp = source.batch_source.timestamp_field
    order = pc.sort_indices(table, sort_keys=[(stamp, "descending")])
    newest = table[release.contract.user_key].take(order).unique().slice(0, count).to_pylist()
    if not newest:
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has no rows up to {release.manifest.as_of}; "
            "there is no user to ask for."
        )
    return newest
