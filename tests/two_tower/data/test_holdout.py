from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from two_tower.config import PullConfig
from two_tower.data.holdout import UserItems, split_per_user, with_histories
from two_tower.data.pulled import EVENT_TIMESTAMP, SPLIT
from two_tower.errors import InputError
from two_tower.inputs import ARROW_TYPES
from two_tower.schema import Contract, Dtype, feature

CONFIG = PullConfig(train_fraction=0.7, validation_fraction=0.15)
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)
LENGTH = 4
CONTRACT = Contract(
    user_key="user_id",
    user_key_dtype=Dtype.STRING,
    item_key="item_id",
    item_key_dtype=Dtype.INT64,
    user=(
        feature("items", "Array(Int64)", {"encoding": "history", "max_length": str(LENGTH)}),
        feature("country", "String", {}),
    ),
    item=(feature("item", "Int64", {}),),
)


def interactions(pairs: list[tuple[str, int]]) -> pa.Table:
    users, items = zip(*pairs, strict=True)
    stamps = pa.array([READ_AT] * len(pairs), ARROW_TYPES[Dtype.TIMESTAMP])
    return pa.table({"user_id": users, "item_id": pa.array(items, pa.int64()), EVENT_TIMESTAMP: stamps})


def pairs(users: int = 40, seed: int = 0) -> list[tuple[str, int]]:
    """Users with 1 to 20 items each; some interactions are repeated, in any order."""
    rng = np.random.default_rng(seed)
    rows = [(f"u{u}", int(i)) for u in range(users) for i in rng.permutation(50)[: 1 + u % 20]]
    return [rows[i] for i in rng.permutation([*range(len(rows)), *range(0, len(rows), 5)])]


def splits(table: pa.Table) -> dict[tuple[str, int], str]:
    """Return the split of each pair, and check that it has only one."""
    of_pair = defaultdict(set)
    for user, item, split in zip(*(table[c].to_pylist() for c in ("user_id", "item_id", SPLIT)), strict=True):
        of_pair[user, item].add(split)
    assert all(len(names) == 1 for names in of_pair.values())
    return {pair: names.pop() for pair, names in of_pair.items()}


def test_each_user_has_training_rows_and_the_splits_have_their_shares() -> None:
    rows, bounds = split_per_user(interactions(pairs(400)), CONTRACT, CONFIG)
    of_pair = splits(rows)
    assert {user for (user, _), split in of_pair.items() if split == "train"} == {f"u{n}" for n in range(400)}
    values, counts = np.unique(list(of_pair.values()), return_counts=True)
    shares = dict(zip(values.tolist(), counts / counts.sum(), strict=True))
    assert shares == pytest.approx({"train": 0.72, "validation": 0.14, "test": 0.14}, abs=0.02)
    assert bounds.split == "per_user"


def test_the_splits_follow_each_other_in_time_and_rows_are_in_random_order() -> None:
    rows, bounds = split_per_user(interactions(pairs(400)), CONTRACT, CONFIG)
    stamps, split = np.array(rows[EVENT_TIMESTAMP].to_pylist()), np.array(rows[SPLIT].to_pylist())
    assert (stamps[:-1] <= stamps[1:]).all()
    assert (stamps[split == "train"] < bounds.train_end).all()
    assert (stamps[split == "validation"] == bounds.train_end).all()
    assert (stamps[split == "test"] == bounds.as_of).all()
    users = np.array([int(u[1:]) for u in rows["user_id"].to_pylist()])[split == "train"]
    assert abs(np.corrcoef(users, np.arange(len(users)))[0, 1]) < 0.1, "a batch would have few users"


def test_a_pair_keeps_its_split_when_others_are_added_and_the_seed_changes_it() -> None:
    some = pairs()
    before = splits(split_per_user(interactions(some), CONTRACT, CONFIG)[0])
    more = [*some, *((u, i + 100) for u, i in some[:60]), *((f"new{n}", n) for n in range(50))]
    after = splits(split_per_user(interactions(more[::-1]), CONTRACT, CONFIG)[0])
    moved = sum(after[pair] != split for pair, split in before.items())
    assert moved <= 3, "only the one pair that a user has in training in any case may change"
    other = splits(split_per_user(interactions(some), CONTRACT, PullConfig(split_seed=1))[0])
    assert sum(other[pair] != split for pair, split in before.items()) > 50


def test_too_few_interactions_are_an_error() -> None:
    with pytest.raises(InputError, match=r"the train split has \d+ of 12 interactions; it needs at least 20"):
        split_per_user(interactions(pairs(4)), CONTRACT, CONFIG)


def test_interactions_after_those_of_a_model_are_its_test_rows() -> None:
    known, new = interactions(pairs()), interactions([("u1", 100), ("u2", 101), ("new", 3)])
    later = pa.array([READ_AT + timedelta(seconds=1)] * 3, ARROW_TYPES[Dtype.TIMESTAMP])
    rows = pa.concat_tables([known, new.set_column(2, EVENT_TIMESTAMP, later)])
    of_pair = splits(split_per_user(rows, CONTRACT, CONFIG, READ_AT)[0])
    assert {pair for pair, split in of_pair.items() if split == "test"} == {("u1", 100), ("u2", 101), ("new", 3)}
    assert set(of_pair.values()) == {"train", "test"}


def test_a_history_has_the_items_that_the_model_may_know_without_the_own_one() -> None:
    rows, _ = split_per_user(interactions(pairs()), CONTRACT, CONFIG)
    of_pair = splits(rows)
    known_in = {"train": {"train"}, "validation": {"train"}, "test": {"train", "validation"}}
    features = pa.table({"items": pa.array([[7]] * rows.num_rows), "country": ["fr"] * rows.num_rows})
    start = 30
    table = with_histories(features.slice(start), UserItems.of(rows, CONTRACT), CONTRACT, start)
    assert table["country"].to_pylist() == ["fr"] * (rows.num_rows - start)
    assert table["items"].type == pa.list_(pa.int64())
    for row, history in zip(rows.slice(start).to_pylist(), table["items"].to_pylist(), strict=True):
        user, own = row["user_id"], row["item_id"]
        known = {i for (u, i), split in of_pair.items() if u == user and i != own and split in known_in[row[SPLIT]]}
        assert (history is None) == (not known)
        items = history or []
        assert set(items) <= known
        assert len(items) == len(set(items)) == min(len(known), LENGTH)
