"""A running application over releases made by hand, with and without a real Feast online store."""

import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1] / "two_tower"))  # for `parts`

import parts
from making import USERS, made

from serving.web import create_app


@pytest.fixture(scope="session")
def feast_repo(tmp_path_factory):
    """A Feast repository whose SQLite online store holds USERS."""
    import feast
    import pandas as pd
    from feast import types

    repo = tmp_path_factory.mktemp("feast")
    (repo / "feature_store.yaml").write_text(
        "project: tiny\nprovider: local\nregistry: data/registry.db\noffline_store: {type: duckdb}\n"
        "online_store: {type: sqlite, path: data/online.db}\nentity_key_serialization_version: 3\n"
    )
    kinds = {"String": types.String, "Float32": types.Float32, "Int64": types.Int64, "Bool": types.Bool}
    kinds |= {"UnixTimestamp": types.UnixTimestamp, "Array(String)": types.Array(types.String)}
    kinds |= {"Array(Float32)": types.Array(types.Float32)}
    declared = [*parts.CONTRACT.user, parts.CONTRACT.seen]
    user = feast.Entity(name="user", join_keys=["user_id"], value_type=feast.ValueType.STRING)
    view = feast.FeatureView(
        name="users",
        entities=[user],
        schema=[feast.Field(name=f.name, dtype=kinds[f.dtype]) for f in declared],
        source=feast.FileSource(path=str(repo / "users.parquet"), timestamp_field="event_timestamp"),
    )
    names = [f.name for f in parts.CONTRACT.user]
    stamp = datetime(2024, 1, 1, tzinfo=UTC)
    rows = {name: {"visits": 3, "member": True, "joined": stamp, **row} for name, row in USERS.items()}
    frame = pd.DataFrame([{"user_id": name, "event_timestamp": stamp, **row} for name, row in rows.items()])
    frame.to_parquet(repo / "users.parquet")
    store = feast.FeatureStore(repo_path=str(repo))
    services = [
        feast.FeatureService(name="user_tower", features=[view[names]]),
        feast.FeatureService(name="user_seen", features=[view[["seen_items"]]]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own, of writing
        store.apply([user, view, *services])
        store.write_to_online_store("users", df=frame)
    return repo


@pytest.fixture
def releases(tmp_path):
    return tmp_path / "releases"


@pytest.fixture
def release(releases, tmp_path):
    """The id of a current release without a feature store."""
    return made(releases, tmp_path / "parts")


@pytest.fixture
def client(releases, release):
    with TestClient(create_app(str(releases))) as client:
        yield client


@pytest.fixture
def with_store(releases, tmp_path, feast_repo):
    """A client of a service whose release names the feature store."""
    made(releases, tmp_path / "parts", feast_repo)
    with TestClient(create_app(str(releases))) as client:
        yield client
