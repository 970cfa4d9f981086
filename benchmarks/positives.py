"""Random interactions in the format of a pull, in any number: the data of the training benchmarks."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from two_tower.data.pulled import SNAPSHOT, Bounds, Pulled
from two_tower.inputs import ARROW_TYPES
from two_tower.schema import Contract, Dtype, feature

USERS, ITEMS, RECENT = 6_040, 3_706, 20  # users and items as in MovieLens-1M
START = datetime(2024, 1, 1, tzinfo=UTC)


def simulated(n: int, seed: int = 0) -> Pulled:
    """Simulate `n` interactions, one per minute; item popularity is proportional to 1 / rank.

    User features: user, country, recent items. Item features: item, category.
    """
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, ITEMS + 1)
    user = rng.integers(0, USERS, n)
    item = rng.choice(ITEMS, n, p=share / share.sum())
    stamps = np.datetime64(START.replace(tzinfo=None), "us") + np.arange(n) * np.timedelta64(60, "s")
    ends = [START + timedelta(minutes=int(n * part)) for part in (0.9, 0.95, 1.0)]
    split = np.repeat(["train", "validation", "test"], np.diff([0, int(n * 0.9), int(n * 0.95), n]))
    stamp = ARROW_TYPES[Dtype.TIMESTAMP]
    every = np.arange(ITEMS)
    catalogue = {
        SNAPSHOT: pa.chunked_array([pa.array([end] * ITEMS, type=stamp) for end in ends]).combine_chunks(),
        "item_id": np.tile(every, 3),
    }
    features = {"item": np.tile(every, 3), "category": np.tile(every % 50, 3)}
    return Pulled(
        _contract(),
        Bounds(train_end=ends[0], validation_end=ends[1], as_of=ends[2], snapshots=tuple(ends)),
        pa.table(
            {
                "user_id": user,
                "item_id": item,
                "event_timestamp": pa.array(stamps, type=stamp),
                "weight": np.ones(n, dtype=np.float32),
                "split": split,
            }
        ),
        pa.table({"user": user, "country": user % 40, "recent_items": _recent(user, item)}),
        pa.table({"item": item, "category": item % 50}),
        pa.table(catalogue | features),
    )


def _recent(user: np.ndarray, item: np.ndarray) -> pa.Array:
    """List the last items of the user before each interaction, oldest first."""
    order = np.argsort(user, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(user[order]) > 0])
    place = np.arange(len(user)) - np.repeat(
        first, np.diff(np.r_[first, len(user)])
    )  # among the interactions of the same user
    length = np.empty(len(user), dtype=np.int64)
    length[order] = np.minimum(place, RECENT)
    at = np.empty(len(user), dtype=np.int64)
    at[order] = np.arange(len(user))
    begin, ends = at - length, np.cumsum(length)
    flat = item[order][np.repeat(begin, length) + np.arange(ends[-1]) - np.repeat(ends - length, length)]
    return pa.ListArray.from_arrays(np.r_[0, ends].astype(np.int32), flat)


def _contract() -> Contract:
    categorical, history = {"encoding": "categorical"}, {"encoding": "history", "max_length": str(RECENT)}
    return Contract(
        user_key="user_id",
        user_key_dtype=Dtype.INT64,
        item_key="item_id",
        item_key_dtype=Dtype.INT64,
        user=(
            feature("user", "Int64", categorical),
            feature("country", "Int64", categorical),
            feature("recent_items", "Array(Int64)", history),
        ),
        item=(feature("item", "Int64", categorical), feature("category", "Int64", categorical)),
    )
