"""The stores of production, by real servers: PostgreSQL for features and registry, Redis for what is asked online."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import servers
from tests.two_tower import shop
from two_tower.config import PullConfig
from two_tower.data import features
from two_tower.data.repository import open_store
from two_tower.errors import InputError

pytestmark = pytest.mark.slow
CONFIG = PullConfig(train_fraction=0.6, validation_fraction=0.2)
PRODUCTION = """
project: shop
provider: local
registry: {registry_type: sql, path: "${TWO_TOWER_REGISTRY}", cache_ttl_seconds: 0}
offline_store: {type: duckdb}
online_store: {type: redis, connection_string: "${TWO_TOWER_REDIS}"}
entity_key_serialization_version: 3
"""
WAREHOUSE = """
project: shop
provider: local
registry: data/registry.db
offline_store: {type: postgres, host: 127.0.0.1, port: PORT, database: postgres, db_schema: public, user: postgres,
                password: "", sslmode: disable}
online_store: {type: sqlite, path: data/online.db}
entity_key_serialization_version: 3
"""


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch):
    """Close what Feast leaves open, which would warn in whichever later test the garbage collector runs."""
    opened, connect = [], psycopg.connect

    def recorded(*args, **kwargs):
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(psycopg, "connect", recorded)
    yield
    for connection in opened:
        connection.close()


@pytest.fixture(scope="module")
def postgres():
    with servers.running_postgres() as port:
        yield port


@pytest.fixture
def redis(tmp_path: Path):
    with servers.running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def repo(tmp_path: Path, postgres: int, redis: servers.Redis, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop with the stores of production, chosen by environment variables; each test has a registry of its own."""
    with psycopg.connect(servers.url(postgres), autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    monkeypatch.setenv("TWO_TOWER_REGISTRY", servers.url(postgres).replace("postgresql:", "postgresql+psycopg:"))
    monkeypatch.setenv("TWO_TOWER_REDIS", f"{servers.HOST}:{redis.port}")
    activity = shop.tables()["activity"].rename_columns({"n": "orders"})
    return shop.write(tmp_path / "repo", PUSHED, config=PRODUCTION, activity=activity)


# Feast does not map the fields of a pushed view, so its table has the names of its features.
PUSHED = shop.DEFINITIONS.replace(
    'source=table("activity", field_mapping={"n": "orders"}),',
    'source=PushSource(name="activity_push", batch_source=table("activity")),',
).replace("FileSource, ValueType", "FileSource, PushSource, ValueType")


def _pg_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_pg_type(kind.value_type)}[]"
    names = {"int64": "bigint", "string": "text", "bool": "boolean", "float": "real", "double": "double precision"}
    return "timestamptz" if pa.types.is_timestamp(kind) else names[str(kind)]


def _load(connection: psycopg.Connection, name: str, table: pa.Table) -> None:
    columns = ", ".join(f'"{f.name}" {_pg_type(f.type)}' for f in table.schema)
    connection.execute(f'create table "{name}" ({columns})')
    places = ", ".join(["%s"] * len(table.column_names))
    with connection.cursor() as cursor:
        cursor.executemany(f'insert into "{name}" values ({places})', [tuple(r.values()) for r in table.to_pylist()])


def test_a_pull_from_postgresql_is_that_from_files(tmp_path, postgres):
    with psycopg.connect(servers.url(postgres), autocommit=True) as connection:
        for name, table in shop.tables().items():
            _load(connection, name, table)
    definitions = shop.DEFINITIONS.replace(
        'FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="at", **settings)',
        'PostgreSQLSource(name=name, query=f"select * from {name}", timestamp_field="at", **settings)',
    ).replace(
        "from feast.types",
        "from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource\n"
        "from feast.types",
    )
    repo = shop.write(tmp_path / "warehouse", definitions, config=WAREHOUSE.replace("PORT", str(postgres)))
    pulled = features.pull(repo, CONFIG, None, tmp_path / "pulled")
    files = features.pull(shop.write(tmp_path / "files"), CONFIG, None, tmp_path / "from-files")
    for name in ("interactions", "user", "item", "catalogue"):
        assert getattr(pulled, name).equals(getattr(files, name)), name


def test_online_rows_from_redis_and_a_registry_in_postgresql(repo, tmp_path):
    as_of = shop.at(shop.EVENTS - 1)
    assert features.materialize(repo, as_of) == {"customers": 7, "activity": 6, "products": 8, "stock": 2, "seen": 6}
    store = open_store(repo)
    contract = features.contract(store)
    known, unknown = features.online_rows(store, contract, [5, 12345])
    assert unknown is None and known["recent"] == [p for c, p, _ in shop.orders() if c == 5][-5:]
    again = features.materialize(repo, as_of + timedelta(hours=1))
    assert set(again.values()) == {0}, "what was written is not written again"


def test_a_push_changes_what_is_read_within_a_second(repo):
    features.materialize(repo, shop.at(shop.EVENTS - 1))
    reading = open_store(repo)
    contract = features.contract(reading)
    (before,) = features.online_rows(reading, contract, [5])
    now = pd.Timestamp.now("UTC")
    row = {"customer": [5], "at": [now], "recent": [[*before["recent"][1:], "p0"]], "orders": [before["orders"] + 1]}
    open_store(repo).push("activity_push", pd.DataFrame(row))
    (after,) = features.online_rows(reading, contract, [5])
    assert pd.Timestamp.now("UTC") - now < pd.Timedelta(seconds=1)
    assert after["recent"][-1] == "p0" and after["orders"] == before["orders"] + 1
    features.materialize(repo, shop.at(shop.EVENTS))
    assert features.online_rows(reading, contract, [5]) == [after], "an older row replaces no newer one"


def test_redis_that_dies_in_the_middle_is_told_and_a_rerun_completes(repo, redis, tmp_path):
    many = 30_000
    customers = pa.table(
        {
            "customer": range(many),
            "at": pa.array([shop.START] * many, shop.STAMP),
            "age": [n % 80 for n in range(many)],
            "member": [n % 2 == 0 for n in range(many)],
            "joined": pa.array([shop.START] * many, shop.STAMP),
        }
    )
    pq.write_table(customers, repo / "data" / "customers.parquet")

    def kill_once_it_holds_something() -> None:
        while redis.client.dbsize() == 0:
            time.sleep(0.001)
        redis.kill()

    killer = threading.Thread(target=kill_once_it_holds_something)
    killer.start()
    with pytest.raises(
        InputError,
        match=r"cannot write feature view .* to the online store of repo: the store cannot be reached.*again",
    ):
        features.materialize(repo, shop.at(shop.EVENTS - 1))
    killer.join()
    with servers.running_redis(tmp_path / "redis", redis.port) as again:
        assert 0 < again.client.dbsize() < many + shop.PRODUCTS
        features.materialize(repo, shop.at(shop.EVENTS - 1))
        assert again.client.dbsize() == many + shop.PRODUCTS, "one entry a user, one an item"
        store = open_store(repo)
        rows = features.online_rows(store, features.contract(store), [0, 5, many - 1])
        assert [row["age"] for row in rows] == [0, 5, (many - 1) % 80]
        again.client.flushall()
        assert features.materialize(repo, shop.at(shop.EVENTS - 1))["customers"] == many, (
            "what was lost is written again"
        )


def test_a_registry_that_is_not_there_and_one_of_another_version(repo, postgres, monkeypatch):
    with psycopg.connect(servers.url(postgres), autocommit=True) as connection:
        connection.execute("create table entities (nothing text)")
    with pytest.raises(InputError, match=r"another version of Feast than 0\.67"):
        features.apply(repo)
    monkeypatch.setenv("TWO_TOWER_REGISTRY", f"postgresql+psycopg://postgres@{servers.HOST}:1/postgres")
    with pytest.raises(InputError, match=r"cannot apply feature repository repo: the store cannot be reached"):
        features.apply(repo)
