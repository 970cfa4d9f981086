from datetime import UTC, timedelta
from pathlib import Path

import pytest

from tests.two_tower.starter import tables
from two_tower.data.features import materialize
from two_tower.data.online import online_rows
from two_tower.data.repository import apply, contract
from two_tower.data.users import pull_users
from two_tower.starter.create import create
from two_tower.starter.options import Options


@pytest.mark.parametrize("events_left_out", [0, 150])
def test_users_have_the_features_that_a_materialised_online_store_has(tmp_path: Path, events_left_out: int) -> None:
    options = Options(interactions=tables.events(tmp_path), users=tables.users(tmp_path), items=tables.items(tmp_path))
    create(tmp_path / "repo", options)
    as_of = tables.when(tables.EVENTS - 1 - events_left_out).astimezone(UTC)
    materialize(tmp_path / "repo", as_of)
    store = apply(tmp_path / "repo")
    users = pull_users(tmp_path / "repo", as_of)
    schema = contract(store)
    keys = users[schema.user_key].to_pylist()
    assert keys == sorted(f"c{n:03}" for n in range(tables.USERS))
    rows = users.drop_columns([schema.user_key]).to_pylist()
    assert rows == online_rows(store, schema, keys)
    assert {row["last_seen"] for row in rows} >= {as_of}
    assert all(row["last_seen"] <= as_of + timedelta(0) for row in rows if row["last_seen"])
