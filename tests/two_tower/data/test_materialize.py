import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from tests import servers
from tests.two_tower import shop
from tests.two_tower.data.pulling import CONFIG
from two_tower.data import features, materialize, sources
from two_tower.data.repository import open_store
from two_tower.data.users import pull_users
from two_tower.errors import InputError

AS_OF = shop.at(shop.EVENTS - 1)
BIG = 2**53 + 1  # the smallest integer that float64 cannot hold


@pytest.fixture
def own_repo(tmp_path: Path) -> Path:
    return shop.write(tmp_path / "repo")


@pytest.fixture(params=["sqlite", "redis"])
def stored_repo(request, tmp_path: Path):
    """The shop, with the online store in SQLite and in Redis."""
    if request.param == "sqlite":
        yield shop.write(tmp_path / "repo")
        return
    with servers.running_redis(tmp_path / "redis") as server:
        redis = f'online_store: {{type: redis, connection_string: "{servers.HOST}:{server.port}"}}'
        yield shop.write(
            tmp_path / "repo", config=shop.CONFIG.replace("online_store: {type: sqlite, path: data/online.db}", redis)
        )


def test_materialised_rows_include_those_stamped_just_after_the_last_event(own_repo, pulled):
    counts = features.materialize(own_repo, pulled.bounds.as_of)
    assert counts == {"customers": 7, "activity": 6, "products": 8, "stock": 2, "seen": 6}
    store = open_store(own_repo)
    known, unknown = features.online_rows(store, pulled.contract, [5, 12345])
    baskets = [p for c, p, _ in shop.orders() if c == 5]
    assert unknown is None
    assert known == {
        "age": 25,
        "member": False,
        "joined": shop.START - timedelta(days=5),
        "recent": baskets[-5:],
        "orders": len(baskets),
        "bought": sorted(set(baskets)),
    }


def trained_and_served(repo: Path, view: str, key: str, keys: list, as_of: datetime = AS_OF) -> tuple[list, list]:
    """Read one view's features of keys, as training does at `as_of`, and from the online store."""
    with contextlib.chdir(repo), sources.ibis_session():
        store: FeatureStore = open_store(repo, asof=True)
        names = [f.name for f in store.get_feature_view(view).features]
        references = [f"{view}:{name}" for name in names]
        stamps = pd.to_datetime([as_of + timedelta(seconds=1)] * len(keys))
        entities = pd.DataFrame({key: keys, "event_timestamp": stamps})
        trained = store.get_historical_features(entities, references).to_arrow().select(names).to_pylist()
        columns = store.get_online_features(references, [{key: k} for k in keys]).to_dict()
    served = [{name: columns[name][i] for name in names} for i in range(len(keys))]
    for row in served:
        if isinstance(row.get("joined"), int):
            row["joined"] = datetime.fromtimestamp(row["joined"], UTC)
    return trained, served


EDITS = {  # of the customers: the number of rows that change
    "a value corrected in place": (lambda t: t.assign(age=t["age"].where(t["customer"] != 4, 99)), 1),
    "a correction appended with the same time": (lambda t: pd.concat([t, t[t["customer"] == 4].assign(age=98)]), 1),
    "rows stamped earlier": (lambda t: t.assign(at=t["at"] - pd.Timedelta(days=1), age=t["age"] + 1), 7),
    "a new key in the middle": (lambda t: pd.concat([t[:3], t[:1].assign(customer=77), t[3:]]), 1),
    "a late row": (lambda t: pd.concat([t, t[t["customer"] == 4].assign(age=97, at=shop.at(5))]), 1),
    "a key removed": (lambda t: t[t["customer"] != 4], 1),
}


def test_rows_that_changed_before_the_last_materialisation_are_served_as_trained(stored_repo):
    path = stored_repo / "data" / "customers.parquet"
    features.materialize(stored_repo, AS_OF)
    for name, (edit, written) in EDITS.items():
        pq.write_table(pa.Table.from_pandas(edit(pq.read_table(path).to_pandas()), preserve_index=False), path)
        assert features.materialize(stored_repo, AS_OF)["customers"] == written, name
        trained, served = trained_and_served(stored_repo, "customers", "customer", [*range(8), 77])
        assert served == trained, name
    assert set(features.materialize(stored_repo, AS_OF).values()) == {0}


def test_a_view_that_was_materialised_into_the_future_gets_later_rows(stored_repo):
    whole = pq.read_table(stored_repo / "data" / "activity.parquet")
    earlier = pa.Table.from_pandas(whole.to_pandas()[:200], preserve_index=False)
    pq.write_table(earlier, stored_repo / "data" / "activity.parquet")
    with contextlib.chdir(stored_repo), sources.ibis_session():
        store = features.apply(stored_repo)
        store.materialize(shop.START, datetime(2099, 1, 1, tzinfo=UTC), feature_views=["activity"])
    pq.write_table(whole, stored_repo / "data" / "activity.parquet")
    assert features.materialize(stored_repo, AS_OF)["activity"] > 0
    trained, served = trained_and_served(stored_repo, "activity", "customer", list(range(8)))
    assert served == trained


def test_only_the_rows_that_the_store_has_lost_are_written_again(own_repo):
    features.materialize(own_repo, AS_OF)
    with sqlite3.connect(own_repo / "data" / "online.db") as connection:
        (key,) = connection.execute("select distinct entity_key from shop_seen limit 1 offset 3").fetchone()
        connection.execute("delete from shop_seen where entity_key = ?", [key])
    connection.close()
    assert features.materialize(own_repo, AS_OF) == dict.fromkeys(("customers", "activity", "products", "stock"), 0) | {
        "seen": 1
    }


def test_an_earlier_as_of_replaces_no_newer_row(own_repo):
    features.materialize(own_repo, AS_OF)
    assert features.materialize(own_repo, shop.at(50))["activity"] == 0
    assert features.materialize(own_repo, AS_OF)["activity"] == 0


def _in_nanoseconds(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table[i].cast(pa.timestamp("ns", tz="UTC")))
    return table


def test_tables_in_nanoseconds_are_trained_on_and_served_as_in_microseconds(tmp_path, pulled):
    tables = {name: _in_nanoseconds(table) for name, table in shop.tables().items()}
    repo = shop.write(tmp_path / "repo", **tables)
    assert features.pull(repo, CONFIG, None, tmp_path / "pulled").user == pulled.user
    assert features.materialize(repo, AS_OF) == {"customers": 7, "activity": 6, "products": 8, "stock": 2, "seen": 6}
    trained, served = trained_and_served(repo, "customers", "customer", list(range(7)))
    assert served == trained


def test_large_integers_beside_nulls_and_nulls_in_lists_are_served_as_trained(stored_repo):
    definitions = stored_repo / "definitions.py"
    definitions.write_text(definitions.read_text().replace("dtype=Array(String))]", "dtype=Array(Int64))]"))
    for name, column, values in (
        ("customers", "age", pa.array([BIG, None, *range(5)], pa.int64())),
        ("seen", "bought", pa.array([[BIG, None, 3], [None], [], None, [1], [2]], pa.list_(pa.int64()))),
    ):
        table = shop.tables()[name]
        table = table.set_column(table.column_names.index(column), column, values)
        pq.write_table(table, stored_repo / "data" / f"{name}.parquet")
    features.materialize(stored_repo, AS_OF)
    store = open_store(stored_repo)
    contract = features.contract(store)
    rows = features.online_rows(store, contract, list(range(7)))
    users = pull_users(stored_repo, AS_OF)
    assert [row["age"] for row in rows] == users["age"].to_pylist() == [BIG, None, *range(5)]
    assert [row["bought"] or [] for row in rows] == [v or [] for v in users["bought"].to_pylist()]
    assert rows[0]["bought"] == [BIG, 3]


ORDERS = """
pairs = FeatureView(
    name="pairs", entities=[customer, product], schema=[Field(name="total", dtype=TOTAL)], source=table("pairs")
)
"""


def test_a_view_with_two_join_keys_that_no_tower_uses_is_written(tmp_path):
    pairs = pa.table(
        {
            "customer": [1, 1, 11, 1],
            "sku": ["1", "p", "", "p"],
            "at": pa.array([shop.START] * 4, shop.STAMP),
            "total": [1, 2, 3, 4],
        }
    )
    definitions = shop.DEFINITIONS + ORDERS.replace("TOTAL", "Int64")
    repo = shop.write(tmp_path / "repo", definitions, pairs=pairs)
    assert features.materialize(repo, AS_OF)["pairs"] == 3
    keys = pairs.select(["customer", "sku"]).to_pylist()
    assert open_store(repo).get_online_features(["pairs:total"], keys).to_dict()["total"] == [1, 4, 3, 4]


@pytest.mark.parametrize(
    ("dtype", "total", "message"),
    [
        ("Int64", pa.array(["1", "2"]), "'total' of feature view 'pairs' .* has the type string; Int64"),
        ("Int64", pa.array([1.0, 2.5]), "'total' has the type double, which does not fit Int64"),
        ("Int32", pa.array([1, 2**40]), "'total' of feature view 'pairs' has a value that Feast cannot write .* Int32"),
    ],
)
def test_a_value_that_cannot_be_materialised_is_named_before_the_pull(tmp_path, dtype, total, message):
    pairs = pa.table({"customer": [1, 2], "sku": ["a", "b"], "at": pa.array([shop.START] * 2, shop.STAMP)})
    definitions = "from feast.types import Int32\n" + shop.DEFINITIONS + ORDERS.replace("TOTAL", dtype)
    repo = shop.write(tmp_path / "repo", definitions, pairs=pairs.append_column("total", total))
    with pytest.raises(InputError, match=message):
        features.pull(repo, CONFIG, None, tmp_path / "pulled")


def test_a_store_that_returns_other_values_is_named(own_repo, monkeypatch):
    monkeypatch.setattr(materialize, "_ATTEMPTS", 1)
    features.apply(own_repo)
    with sqlite3.connect(own_repo / "data" / "online.db") as connection:
        connection.execute(
            "create trigger other after insert on shop_stock begin update shop_stock set value = x'20ff01'; end"
        )
    connection.close()
    with pytest.raises(
        InputError, match=r"'stock': the online store has .* for the key .*p1.*, after .* \(2 of 2 rows"
    ):
        features.materialize(own_repo, AS_OF)
