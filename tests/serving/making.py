"""Publish a small hand-written release, and users for the online store."""

import json

from tests.two_tower import parts
from two_tower.data.online_config import online_config
from two_tower.releases.release import activate, publish

# The rows of the online store. It has no row for the user `nobody`.
USERS = {
    "ann": {"group": "a", "age": 0.0, "recent": ["i1"], "seen_items": ["i0", "i1", "gone"], "taste": [1.0, 0.0]},
    "bob": {"group": "b", "age": None, "recent": [], "seen_items": None, "taste": None},
    "inf": {"group": "a", "age": 3e38, "recent": ["i9"], "seen_items": ["i8"], "taste": [1.0, 0.0]},
    "odd": {"group": "a", "age": 0.0, "recent": [], "seen_items": [], "taste": [1.0, 2.0, 3.0]},
}


def made(releases, folder, feature_repo=None, items=10, prefix="i", space="space-1", users=()):
    """Publish and activate a release; returns its id."""
    parts.write(folder, items=items, prefix=prefix, space=space)
    if feature_repo:
        (folder / "feature_store.yaml").write_text(online_config(feature_repo))
    if users:
        (folder / "users.json").write_text(json.dumps(users))
    one = publish(releases, [folder], parts.manifest(space))
    activate(releases, one)
    return one
