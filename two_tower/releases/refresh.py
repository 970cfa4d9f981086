"""A new release with the same towers: the current catalogue, embedded by the item tower that serves."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from two_tower.data.catalogue import Catalogue
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.releases import index_shards, release
from two_tower.releases.manifest import File
from two_tower.releases.release import Release

MIN_SHARE = 0.5  # of the items that serve now; fewer indicate a broken table rather than a smaller catalogue


def fetch(releases: str, release_id: str, folder: Path) -> None:
    """Copy a release, verified, to `folder`.

    Raises:
        ReleaseError: The release does not exist, or does not verify.
    """
    with tempfile.TemporaryDirectory() as cache:
        shutil.copytree(release.open_release(releases, release_id, Path(cache)).folder, folder, dirs_exist_ok=True)


def assemble(served: Path, catalogue: Catalogue, shards: Sequence[Path], folder: Path) -> Verdict:
    """Write the index of the embedded shards, and judge whether it may replace the index that serves.

    Args:
        served: Folder that `fetch` filled.
        catalogue: The current catalogue, without the items' embeddings.
        shards: Folders with the embeddings of its shards, in any order.
        folder: Receives the index (see `item_index.write_index`).

    Returns:
        A verdict that does not pass if fewer than half of the items that serve now are left.

    Raises:
        InputError: The towers were trained on other item features than the feature store now has.
    """
    current = Release.read(served)
    _check_contract(current, catalogue)
    index_shards.assemble(served, catalogue, shards, current.profile("user"), folder)
    before, after = pq.read_metadata(current.path(File.ITEMS)).num_rows, catalogue.items.num_rows
    reason = (
        f"the catalogue has {after} items, the current release {before}; fewer than {MIN_SHARE:.0%} of them indicate a "
        "broken table. Repair the feature store, or run the training pipeline, which judges the new catalogue by its "
        "recall."
    )
    passed = after >= MIN_SHARE * before
    details = {"items": after, "items_before": before}
    return Verdict(gate="refresh", passed=passed, reasons=() if passed else (reason,), details=details)


def publish(served: Path, index: Path, catalogue: Catalogue, verdict: Verdict, releases: str) -> str:
    """Write the refreshed release and return its id; nothing points to it yet.

    Its index, items and `as_of` are new. All else is copied from the served release, also its metrics and gates.

    Args:
        served: Folder that `fetch` filled.
        index: Folder that `assemble` filled.
        catalogue: The catalogue of that index.
        verdict: Verdict of `assemble`; it is added to the gates.
        releases: Folder or URL of the releases.
    """
    current = Release.read(served)
    manifest = current.manifest.model_copy(
        update={
            "bounds": {**current.manifest.bounds, "as_of": catalogue.as_of.isoformat()},
            "gates": {
                **current.manifest.gates,
                "refresh": {"passed": verdict.passed, "reasons": list(verdict.reasons)},
            },
        }
    )
    kept = (File.USER_TOWER, File.ITEM_TOWER, File.REFERENCE, File.FEATURE_STORE)
    return release.publish(releases, [*(current.path(file) for file in kept if current.has(file)), index], manifest)


def _check_contract(current: Release, catalogue: Catalogue) -> None:
    old, new = current.contract, catalogue.contract
    if (old.item, old.item_key) != (new.item, new.item_key):
        changed = sorted({f.name for f in set(old.item) ^ set(new.item)} or {old.item_key, new.item_key})
        raise InputError(
            f"the item tower of release {current.id} was trained on other item features than the feature store now "
            f"has ({', '.join(changed)}). Run the training pipeline."
        )
