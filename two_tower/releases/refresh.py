"""A new release of the same towers: the catalogue as it is now, embedded by the item tower that serves."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from two_tower.data.catalogue import Catalogue
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.releases import index_shards, release
from two_tower.schema import Contract

LEAST_SHARE = 0.5  # of the items that serve now; fewer are a broken table rather than a smaller shop


def fetch(releases: str, folder: Path) -> None:
    """Copy the current release, verified, to `folder`. Raises ReleaseError where none is active."""
    current = release.current(releases)
    if current is None:
        raise release.ReleaseError(f"no release of {releases} is active, so there is no item tower. Train one first.")
    with tempfile.TemporaryDirectory() as cache:
        shutil.copytree(release.local_copy(releases, current, Path(cache)), folder, dirs_exist_ok=True)


def assemble(served: Path, catalogue: Catalogue, parts: Sequence[Path], folder: Path) -> Verdict:
    """Write the index of the embedded shards, and say whether it may replace the one that serves.

    served: folder that `fetch` filled. Holds where less than half of the items that serve now are left.
    Raises InputError where the towers were made for other item features than the store now has.
    """
    _check_contract(served, catalogue)
    profile = served / "profile.json"
    users = json.loads(profile.read_text()).get("user", {}) if profile.exists() else {}
    index_shards.assemble(served, catalogue, parts, users, folder)
    before, now = pq.read_metadata(served / release.ITEMS).num_rows, catalogue.items.num_rows
    reasons = (
        f"the catalogue has {now} items, the current release {before}; below {LEAST_SHARE:.0%} of them is taken for a "
        "broken table. Mend the feature store, or train again, which judges the new catalogue by its recall.",
    )
    passed = now >= LEAST_SHARE * before
    details = {"items": now, "items_before": before}
    return Verdict(gate="refresh", passed=passed, reasons=() if passed else reasons, details=details)


def publish(served: Path, index: Path, catalogue: Catalogue, verdict: Verdict, releases: str) -> str:
    """Write the release, which nothing points to yet, and return its id.

    It is the served one but for its index, its items and its time; metrics and gates are those of its towers.
    """
    manifest = json.loads((served / release.MANIFEST).read_text())
    manifest["bounds"] = {**manifest["bounds"], "as_of": catalogue.as_of.isoformat()}
    manifest["gates"] = {**manifest["gates"], "refresh": {"passed": verdict.passed, "reasons": list(verdict.reasons)}}
    kept = [served / name for name in ("user_tower.onnx", "item_tower.onnx", release.REFERENCE, release.FEATURE_STORE)]
    return release.publish(releases, [*(path for path in kept if path.exists()), index], manifest)


def _check_contract(served: Path, catalogue: Catalogue) -> None:
    manifest: dict[str, Any] = json.loads((served / release.MANIFEST).read_text())
    made_for, now = Contract.from_dict(manifest["contract"]), catalogue.contract
    if (made_for.item, made_for.item_key) != (now.item, now.item_key):
        changed = sorted({f.name for f in set(made_for.item) ^ set(now.item)} or {made_for.item_key, now.item_key})
        raise InputError(
            f"the item tower of release {manifest['id']} was made for other item features than the feature store now "
            f"has ({', '.join(changed)}). Run the training pipeline."
        )
