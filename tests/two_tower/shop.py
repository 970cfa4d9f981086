"""A small Feast repository as another team would write it: other join keys, relative paths, no imports of ours."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

STAMP = pa.timestamp("us", tz="UTC")
START = datetime(2024, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EVENTS, CUSTOMERS, PRODUCTS = 240, 6, 8

CONFIG = """
project: shop
provider: local
registry: data/registry.db
offline_store: {type: duckdb}
online_store: {type: sqlite, path: data/online.db}
entity_key_serialization_version: 3
"""

DEFINITIONS = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Float32, Int64, String, UnixTimestamp

customer = Entity(name="user", join_keys=["customer"], value_type=ValueType.INT64)
product = Entity(name="item", join_keys=["sku"], value_type=ValueType.STRING)


def table(name, **settings):
    return FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="at", **settings)


customers = FeatureView(
    name="customers",
    entities=[customer],
    schema=[
        Field(name="age", dtype=Int64),
        Field(name="member", dtype=Bool),
        Field(name="joined", dtype=UnixTimestamp),
    ],
    source=table("customers"),
)
activity = FeatureView(
    name="activity",
    entities=[customer],
    schema=[
        Field(name="recent", dtype=Array(String), tags={"encoding": "history", "max_length": "5"}),
        Field(name="orders", dtype=Int64),
    ],
    source=table("activity", field_mapping={"n": "orders"}),
)
products = FeatureView(
    name="products",
    entities=[product],
    schema=[
        Field(name="colour", dtype=String),
        Field(name="price", dtype=Float32),
        Field(name="photo", dtype=Array(Float32)),
    ],
    source=table("products", created_timestamp_column="written"),
)
stock = FeatureView(
    name="stock",
    entities=[product],
    schema=[Field(name="left", dtype=Int64)],
    source=table("stock"),
    ttl=timedelta(hours=2),
)
orders = FeatureView(
    name="interactions",
    entities=[customer, product],
    schema=[Field(name="weight", dtype=Float32)],
    source=table("orders"),
    online=False,
)
seen = FeatureView(
    name="seen", entities=[customer], schema=[Field(name="bought", dtype=Array(String))], source=table("seen")
)

user_tower = FeatureService(name="user_tower", features=[customers, activity])
item_tower = FeatureService(name="item_tower", features=[products, stock])
user_seen = FeatureService(name="user_seen", features=[seen])
"""


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def orders() -> list[tuple[int, str, datetime]]:
    """List (customer, product, time): one order per minute, and every tenth minute one more by another customer."""
    once = [(n % CUSTOMERS, f"p{n * n % PRODUCTS}", at(n)) for n in range(EVENTS)]
    return sorted([*once, *((c + 1, p, t) for c, p, t in once[::10])], key=lambda o: (o[2], o[0]))


def tables() -> dict[str, pa.Table]:
    rows = orders()
    after = [(c, t + MICROSECOND, [p for d, p, s in rows if d == c and s <= t]) for c, _, t in rows]
    last = {c: (t, basket) for c, t, basket in after}
    everyone = range(CUSTOMERS + 1)
    shelf = [f"p{n}" for n in range(PRODUCTS)]
    return {
        "orders": _table(
            customer=[c for c, _, _ in rows],
            sku=[p for _, p, _ in rows],
            at=[t for _, _, t in rows],
            weight=[1.0 for _ in rows],
        ),
        "customers": _table(
            customer=list(everyone),
            at=[START] * len(everyone),
            age=[None if c == 2 else 20 + c for c in everyone],
            member=[None if c == 3 else c % 2 == 0 for c in everyone],
            joined=[START - timedelta(days=c) for c in everyone],
        ),
        "activity": _table(
            customer=[c for c, _, _ in after],
            at=[t for _, t, _ in after],
            recent=[basket[-5:] for _, _, basket in after],
            n=[len(basket) for _, _, basket in after],
        ),
        # p0 has two rows for one timestamp: the row written later counts. p7 was added after an hour.
        "products": _table(
            sku=["p0", *shelf],
            at=[START, *(START if p != "p7" else at(60) for p in shelf)],
            written=[START, *(at(1) for _ in shelf)],
            colour=["wrong", *("red" if n % 2 else "blue" for n in range(PRODUCTS))],
            price=[0.0, *(1.5 * n for n in range(PRODUCTS))],
            photo=pa.array([[0.0, 0.0], *([float(n), 1.0] for n in range(PRODUCTS))], pa.list_(pa.float32())),
        ),
        "stock": _table(sku=["p1", "p2"], at=[START, at(100)], left=[5, 7]),
        "seen": _table(
            customer=list(last),
            at=[t for t, _ in last.values()],
            bought=[sorted(set(basket)) for _, basket in last.values()],
        ),
    }


def _table(**columns) -> pa.Table:
    stamps = {"at", "written", "joined"}
    return pa.table({n: pa.array(v, STAMP) if n in stamps else pa.array(v) for n, v in columns.items()})


def write(folder: Path, definitions: str = DEFINITIONS, config: str = CONFIG, **replaced: pa.Table) -> Path:
    """Write the repository to `folder`, with some tables replaced."""
    (folder / "data").mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(config)
    (folder / "definitions.py").write_text(definitions)
    for name, table in (tables() | replaced).items():
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    return folder
