"""Small pulled data sets with known answers, built with Arrow only."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from two_tower.data.pulled import SNAPSHOT, Bounds, Pulled
from two_tower.inputs import ARROW_TYPES, arrow_schema
from two_tower.schema import Contract, Dtype, Feature, feature

START = datetime(2024, 1, 1, tzinfo=UTC)
STAMP = ARROW_TYPES[Dtype.TIMESTAMP]


def pulled(contract: Contract, users: list, items: list, user_rows: list[dict], catalogue: dict) -> Pulled:
    """Build a pull with one interaction per hour: 80 % train, 10 % validation, 10 % test.

    user_rows: features of the user at each interaction. catalogue: features of each item, constant over time.
    """
    n = len(users)
    times = [START + timedelta(hours=i) for i in range(n)]
    train_end, validation_end, as_of = times[int(n * 0.8)], times[int(n * 0.9)], times[-1] + timedelta(hours=1)
    split = ["train" if t < train_end else "validation" if t < validation_end else "test" for t in times]
    snapshots = (train_end, validation_end, as_of)
    keys = {contract.user_key: users, contract.item_key: items}
    kinds = {contract.user_key: contract.user_key_dtype, contract.item_key: contract.item_key_dtype}
    columns = {k: pa.array(v, type=ARROW_TYPES[kinds[k]]) for k, v in keys.items()}
    rows = [catalogue[item] for item in items]
    item_schema = arrow_schema(contract.item)
    known = pa.concat_tables(
        pa.table({SNAPSHOT: pa.array([s] * len(catalogue), type=STAMP)})
        .append_column(contract.item_key, pa.array(list(catalogue), type=ARROW_TYPES[contract.item_key_dtype]))
        .append_column("row", pa.array(range(len(catalogue))))
        for s in snapshots
    )
    features = pa.Table.from_pylist(list(catalogue.values()), schema=item_schema).take(known["row"])
    known = known.drop_columns(["row"])
    for name in item_schema.names:
        known = known.append_column(name, features[name])
    return Pulled(
        contract,
        Bounds(train_end=train_end, validation_end=validation_end, as_of=as_of, snapshots=snapshots),
        pa.table(
            columns
            | {
                "event_timestamp": pa.array(times, type=STAMP),
                "weight": pa.array([1.0] * n, type=pa.float32()),
                "split": split,
            }
        ),
        pa.Table.from_pylist(user_rows, schema=arrow_schema(contract.user)),
        pa.Table.from_pylist(rows, schema=item_schema),
        known,
    )


def checkerboard(users: int = 40, items: int = 80, per_user: int = 32, seed: int = 0) -> Pulled:
    """Each user interacts once with items of the same parity as the user, and with no other items."""
    contract = Contract(
        user_key="user_id",
        user_key_dtype=Dtype.STRING,
        item_key="item_id",
        item_key_dtype=Dtype.STRING,
        user=(
            feature("user", "String", {}),
            feature("recent_items", "Array(String)", {"encoding": "history"}),
        ),
        item=(feature("item", "String", {}),),
    )
    rng = np.random.default_rng(seed)
    history = {u: [f"i{i}" for i in rng.permutation(np.arange(u % 2, items, 2))[:per_user]] for u in range(users)}
    events = [(u, place) for place in range(per_user) for u in rng.permutation(users)]
    return pulled(
        contract,
        [f"u{u}" for u, _ in events],
        [history[u][place] for u, place in events],
        [{"user": f"u{u}", "recent_items": history[u][:place] or None} for u, place in events],
        {f"i{i}": {"item": f"i{i}"} for i in range(items)},
    )


def weighted(world: Pulled, weight: list[float]) -> Pulled:
    """The same pull with these weights of the interactions."""
    place = world.interactions.column_names.index("weight")
    return replace(world, interactions=world.interactions.set_column(place, "weight", pa.array(weight, pa.float32())))


def every_encoding(n: int = 200, seed: int = 0) -> Pulled:
    """One feature per encoding, a fifth of the values missing. Item i9 has no interactions."""
    kinds: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("country", "String", {}),
        ("agent", "String", {"encoding": "hashed", "buckets": "50"}),
        ("visits", "Int64", {}),
        ("zip", "Int64", {"encoding": "categorical", "min_count": "2"}),
        ("campaign", "Int64", {"encoding": "hashed", "buckets": "50"}),
        ("level", "Int64", {"encoding": "bucketized", "buckets": "4"}),
        ("spend", "Float32", {}),
        ("score", "Float64", {"encoding": "bucketized", "buckets": "8"}),
        ("member", "Bool", {}),
        ("joined", "UnixTimestamp", {}),
        ("wakes", "UnixTimestamp", {"encoding": "cyclic"}),
        ("topics", "Array(String)", {}),
        ("codes", "Array(Int64)", {}),
        ("recent_items", "Array(String)", {"encoding": "history", "max_length": "5"}),
        ("portrait", "Array(Float32)", {}),
    )
    user = tuple(feature(*k) for k in kinds)
    contract = Contract(
        user_key="user_id",
        user_key_dtype=Dtype.INT64,
        item_key="item_id",
        item_key_dtype=Dtype.STRING,
        user=user,
        item=(feature("item", "String", {}), feature("price", "Float32", {}), feature("made", "UnixTimestamp", {})),
    )
    rng = np.random.default_rng(seed)
    catalogue = {f"i{i}": {"item": f"i{i}", "price": float(i), "made": START - timedelta(days=i)} for i in range(9)} | {
        "i9": {"item": "i9", "price": None, "made": None}
    }
    return pulled(
        contract,
        [int(u) for u in rng.integers(0, 20, n)],
        [f"i{i}" for i in rng.integers(0, 9, n)],
        [{f.name: None if rng.random() < 0.2 else _value(f, rng) for f in user} for _ in range(n)],
        catalogue,
    )


def _value(f: Feature, rng: np.random.Generator):
    length = int(rng.integers(0, 8))
    match f.dtype:
        case Dtype.STRING:
            return str(rng.choice(["a", "b", "é", "long " * 9]))
        case Dtype.INT64:
            return int(rng.integers(-3, 10))
        case Dtype.FLOAT32 | Dtype.FLOAT64:
            return float(rng.normal())
        case Dtype.BOOL:
            return bool(rng.random() < 0.5)
        case Dtype.TIMESTAMP:
            return START - timedelta(seconds=int(rng.integers(0, 10**7)))
        case Dtype.STRINGS:
            return [f"i{i}" for i in rng.integers(0, 9, length)]
        case Dtype.INTS:
            return [int(i) for i in rng.integers(0, 9, length)]
        case Dtype.FLOATS:
            return [float(x) for x in rng.normal(size=3)]
