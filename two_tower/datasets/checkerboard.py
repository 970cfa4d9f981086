"""A data set with a known best result: two groups of users, each interacting only with items of its own group."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets.tables import ITEM_KEY, TIMESTAMP, USER_KEY, Tables

START = datetime(2024, 1, 1, tzinfo=UTC)
GROUPS = ("even", "odd")


def load(seed: int = 0, users: int = 60, items: int = 80, events_per_user: int = 30, days: int = 30) -> Tables:
    """Simulate the checkerboard. User u and item i are in the same group if both numbers are even or both are odd.

    Each user interacts with different items of the own group at regular intervals, so every split has interactions of
    every user.

    Args:
        seed: The seed of the choice of items.
        users: The number of users.
        items: The number of items.
        events_per_user: The number of interactions of each user, at most half of `items`.
        days: The time range of the interactions.

    Returns:
        Users, items and interactions.
    """
    assert events_per_user <= items // 2
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), events_per_user)
    in_group = np.concatenate([rng.permutation(items // 2)[:events_per_user] for _ in range(users)])
    item = 2 * in_group + user % 2
    step = days * 86_400 * 1_000_000 // (events_per_user + 1)
    moment = np.tile(np.arange(1, events_per_user + 1) * step, users) + user * 1_000_000
    start = int(START.timestamp() * 1_000_000)
    order = np.argsort(moment, kind="stable")
    interactions = pa.table(
        {
            USER_KEY: user[order],
            ITEM_KEY: item[order],
            EVENT_TIMESTAMP: pa.array(start + moment[order], pa.int64()).cast(TIMESTAMP),
            "weight": pa.array(np.ones(len(user)), pa.float32()),
        }
    )
    return Tables(
        users=_members(USER_KEY, users, start), items=_members(ITEM_KEY, items, start), interactions=interactions
    )


def _members(key: str, count: int, start: int) -> pa.Table:
    ids = np.arange(count)
    columns = {
        key: pa.array(ids, pa.int64()),
        EVENT_TIMESTAMP: pa.array(np.full(count, start), pa.int64()).cast(TIMESTAMP),
        f"{key.removesuffix('_id')}_group": [GROUPS[i % 2] for i in ids],
    }
    return pa.table(columns if key == USER_KEY else {**columns, "item": pa.array(ids, pa.int64())})
