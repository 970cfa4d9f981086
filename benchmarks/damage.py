"""Kinds of data damage, applied to the source tables of a prepared feature repository.

Upstream damage happens before the activity features are computed: they are recomputed from the damaged tables, so that
all tables agree. Other damage changes one table only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Tables = dict[str, pa.Table]  # users, items, interactions, user_activity, item_activity, user_seen
Change = Callable[[Tables, np.random.Generator], Tables]
STAMP = "event_timestamp"
YEAR_1970, YEAR_2126 = datetime(1970, 1, 1, tzinfo=UTC), datetime(2126, 1, 1, tzinfo=UTC)
MOVIELENS, RETAIL = "movielens-100k", "online-retail"


@dataclass(frozen=True)
class Damage:
    """columns: the damage counts as named if a reason of the gate names one of these columns."""

    kind: str
    dataset: str
    columns: tuple[str, ...]
    change: Change
    upstream: bool = False


def column(table: str, name: str, values: Callable[[pa.ChunkedArray, np.random.Generator], Any]) -> Change:
    """Replace one column by the result of `values`."""

    def change(tables: Tables, rng: np.random.Generator) -> Tables:
        old = tables[table]
        new = values(old[name], rng)
        new = new if isinstance(new, pa.Array | pa.ChunkedArray) else pa.array(new)
        return tables | {table: old.set_column(old.column_names.index(name), name, new)}

    return change


def rows(table: str, keep: Callable[[pa.Table, np.random.Generator], pa.Table]) -> Change:
    """Replace the rows of one table by the result of `keep`."""
    return lambda tables, rng: tables | {table: keep(tables[table], rng)}


def both(*changes: Change) -> Change:
    def change(tables: Tables, rng: np.random.Generator) -> Tables:
        for one in changes:
            tables = one(tables, rng)
        return tables

    return change


def some(share: float, put: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.ChunkedArray, np.random.Generator], Any]:
    """Replace a share of the rows by the result of `put`: one value, or a column."""

    def values(old: pa.ChunkedArray, rng: np.random.Generator) -> pa.ChunkedArray:
        new = put(old)
        hit = pa.array(rng.random(len(old)) < share)
        if not isinstance(new, pa.Array | pa.ChunkedArray):
            new = pa.scalar(new, old.type)
        return pc.if_else(hit, new, old.combine_chunks())

    return values


def texts(change: Callable[[str], str]) -> Callable[[pa.ChunkedArray, np.random.Generator], Any]:
    """Apply `change` to every string, also inside lists."""

    def values(old: pa.ChunkedArray, _: np.random.Generator) -> pa.Array:
        def one(value: Any) -> Any:
            return None if value is None else [change(v) for v in value] if isinstance(value, list) else change(value)

        return pa.array([one(v) for v in old.to_pylist()], old.type)

    return values


def shuffled(old: pa.ChunkedArray, rng: np.random.Generator) -> pa.ChunkedArray:
    return old.take(pa.array(rng.permutation(len(old))))


def later(by: timedelta) -> Callable[[pa.ChunkedArray, np.random.Generator], Any]:
    return lambda old, _: pc.add(old, pa.scalar(by, pa.duration("us")))


def until(days: float) -> Callable[[pa.Table, np.random.Generator], pa.Table]:
    """Drop the rows of the last days."""

    def keep(table: pa.Table, _: np.random.Generator) -> pa.Table:
        end = pc.max(table[STAMP]).as_py() - timedelta(days=days)
        return table.filter(pc.less(table[STAMP], pa.scalar(end, table[STAMP].type)))

    return keep


def without_hours_of_a_day(table: pa.Table, _: np.random.Generator) -> pa.Table:
    """Drop the rows after 6 a.m. on the busiest day of the first half."""
    days = pc.floor_temporal(table[STAMP], unit="day")
    counted = days.slice(0, len(days) // 2).value_counts().to_pylist()
    day = max(counted, key=lambda c: c["counts"])["values"]
    cut = pc.and_(
        pc.equal(days, pa.scalar(day, days.type)),
        pc.greater_equal(table[STAMP], pa.scalar(day + timedelta(hours=6), days.type)),
    )
    return table.filter(pc.invert(cut))


def repeated(share: float, **changed: Callable[[pa.ChunkedArray], Any]) -> Callable[..., pa.Table]:
    """Append a share of the rows again, with some columns changed."""

    def add(table: pa.Table, rng: np.random.Generator) -> pa.Table:
        again = table.filter(pa.array(rng.random(table.num_rows) < share))
        for name, change in changed.items():
            again = again.set_column(again.column_names.index(name), name, change(again[name]))
        return pa.concat_tables([table, again])

    return add


def half(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    return table.filter(pa.array(rng.random(table.num_rows) < 0.5))


def swapped(table: str, one: str, other: str) -> Change:
    def change(tables: Tables, _: np.random.Generator) -> Tables:
        names = [{one: other, other: one}.get(n, n) for n in tables[table].column_names]
        return tables | {table: tables[table].rename_columns(names).select(tables[table].column_names)}

    return change


def garbled(text: str) -> str:
    return text.replace("e", "é").encode().decode("latin-1")


def without_country(country: str) -> Change:
    def change(tables: Tables, _: np.random.Generator) -> Tables:
        users = tables["users"].filter(pc.not_equal(tables["users"]["country"], country))
        events = tables["interactions"]
        left = pc.is_in(events["user_id"], value_set=users["user_id"].combine_chunks())
        return tables | {"users": users, "interactions": events.filter(left)}

    return change


def one_user(share: float) -> Change:
    """Assign a share of the interactions to one user, as a bot would."""
    return column("interactions", "user_id", some(share, lambda old: old[0].as_py()))


def lists(change: Callable[[list[Any]], list[Any]]) -> Callable[[pa.ChunkedArray, np.random.Generator], Any]:
    return lambda old, _: pa.array([None if v is None else change(v) for v in old.to_pylist()], old.type)


_KEYS = ("user_id", "item_id", STAMP)
_ML: Mapping[str, tuple[tuple[str, ...], Change]] = {
    "a third of a column is null": (("occupation",), column("users", "occupation", some(0.3, lambda _: None))),
    "a few nulls": (("age",), column("users", "age", some(0.05, lambda _: None))),
    "a column is wholly null": (
        ("genres",),
        column("items", "genres", lambda old, _: pa.nulls(len(old), old.type)),
    ),
    "null keys": (("user_id",), column("interactions", "user_id", some(0.01, lambda _: None))),
    "numbers became texts": (("age",), column("users", "age", lambda old, _: old.cast(pa.string()))),
    "keys became texts": (("item_id",), column("interactions", "item_id", lambda old, _: old.cast(pa.string()))),
    "a column is gone": (("year",), rows("items", lambda table, _: table.drop_columns("year"))),
    "another unit: months for years": (("age",), column("users", "age", lambda old, _: pc.multiply(old, 12))),
    "users' ids shuffled": (("user_id",), column("users", "user_id", shuffled)),
    "items' ids shuffled": (("item_id",), column("items", "item_id", shuffled)),
    "items of the interactions shuffled": (("item_id",), column("interactions", "item_id", shuffled)),
    "users of the interactions shuffled": (("user_id",), column("interactions", "user_id", shuffled)),
    "values one row off": (
        ("year",),
        column("items", "year", lambda old, _: pa.array(np.roll(old.to_numpy(zero_copy_only=False), 1))),
    ),
    "keys twice, with other values": (
        ("users.user_id",),
        rows("users", repeated(0.1, age=lambda old: pc.add(old, 1))),
    ),
    "interactions twice": (_KEYS, rows("interactions", repeated(0.05))),
    "a stale view of users": (("user_activity.event_timestamp",), rows("user_activity", until(30))),
    "a stale view of items": (("item_activity.event_timestamp",), rows("item_activity", until(30))),
    "interactions in the future": ((STAMP,), column("interactions", STAMP, some(0.01, lambda _: YEAR_2126))),
    "features in the future": (
        ("users.event_timestamp",),
        rows(
            "users",
            repeated(
                0.05, event_timestamp=lambda old: pa.array([datetime(2126, 1, 1, tzinfo=UTC)] * len(old), old.type)
            ),
        ),
    ),
    "interactions in 1970": (
        (STAMP,),
        column("interactions", STAMP, some(0.01, lambda _: YEAR_1970)),
    ),
    "a day cut short": ((STAMP,), rows("interactions", without_hours_of_a_day)),
    "the newest days are missing": ((STAMP,), rows("interactions", until(10))),
    "swapped columns": (("gender", "zip_region"), swapped("users", "gender", "zip_region")),
    "swapped columns of numbers": (
        ("item_events_7d", "item_events_30d"),
        swapped("item_activity", "item_events_7d", "item_events"),
    ),
    "mojibake": (("title_words",), column("items", "title_words", texts(garbled))),
    "a constant column": (("age",), column("users", "age", lambda old, _: pa.array([35] * len(old)))),
    "category explosion": (
        ("occupation",),
        column("users", "occupation", lambda old, _: [f"{v}-{n}" for n, v in enumerate(old.to_pylist())]),
    ),
    "another case": (("gender",), column("users", "gender", texts(str.lower))),
    "spaces at the end": (("occupation",), column("users", "occupation", texts(lambda v: f"{v} "))),
    "a text for missing": (("zip_region",), column("users", "zip_region", some(0.05, lambda _: "nan"))),
    "a number for missing": (("age",), column("users", "age", some(0.03, lambda _: -1))),
    "missing filled with one value": (("age",), column("users", "age", some(0.25, lambda _: 30))),
    "rounded numbers": (
        ("year",),
        column("items", "year", lambda old, _: pc.multiply(pc.cast(pc.divide(old, 10), pa.int64()), 10)),
    ),
    "labels exchanged": (
        ("gender",),
        column("users", "gender", texts(lambda v: {"M": "F", "F": "M"}[v])),
    ),
    "lists cut to one": (("genres",), column("items", "genres", lists(lambda v: v[:1]))),
    "empty lists": (("title_words",), column("items", "title_words", some(0.3, lambda _: []))),
    "histories cut short": (("recent_items",), column("user_activity", "recent_items", lists(lambda v: v[-5:]))),
    "features that know the event": (
        ("recent_items",),
        column("user_activity", STAMP, later(timedelta(microseconds=-2))),
    ),
    "interactions in another time zone": ((STAMP,), column("interactions", STAMP, later(timedelta(hours=5)))),
    "activity in another time zone": (
        ("recent_items", "user_activity.event_timestamp"),
        column("user_activity", STAMP, later(timedelta(hours=5))),
    ),
    "milliseconds read as seconds": (
        ("released",),
        column("items", "released", lambda old, _: pc.divide(old.cast(pa.int64()), 1000).cast(old.type)),
    ),
    "one busy robot": (("user_id",), one_user(0.2)),
    "half of the users are missing": (("users.user_id",), rows("users", half)),
    "half of the items are missing": (("items.item_id",), rows("items", half)),
    "items that nobody knows": (
        ("item_id",),
        column("interactions", "item_id", some(0.2, lambda old: pc.add(old, 1_000_000).combine_chunks())),
    ),
}
_SHOP: Mapping[str, tuple[tuple[str, ...], Change]] = {
    "price × 100": (("price",), column("items", "price", lambda old, _: pc.multiply(old, 100).cast(old.type))),
    "some prices × 100": (
        ("price",),
        column("items", "price", some(0.1, lambda old: pc.multiply(old, 100).cast(old.type).combine_chunks())),
    ),
    "decimal comma": (
        ("price",),
        column("items", "price", lambda old, _: [str(v).replace(".", ",") for v in old.to_pylist()]),
    ),
    "negative prices": (("price",), column("items", "price", some(0.02, lambda _: -5.0))),
    "infinite prices": (("price",), column("items", "price", some(0.01, lambda _: float("inf")))),
    "NaN": (("price",), column("items", "price", some(0.01, lambda _: float("nan")))),
    "prices without pence": (("price",), column("items", "price", lambda old, _: pc.floor(old))),
    "a dropped country": (("country",), without_country("Germany")),
    "a renamed country": (
        ("country",),
        column("users", "country", texts(lambda v: "UK" if v == "United Kingdom" else v)),
    ),
    "letters that could not be read": (
        ("description_words",),
        column("items", "description_words", some(0.05, lambda _: ["\ufffd\ufffd"])),
    ),
    "HTML in texts": (
        ("country",),
        column("users", "country", texts(lambda v: v.replace(" ", "&nbsp;"))),
    ),
}
_UPSTREAM = {
    "items of the interactions shuffled",
    "interactions twice",
    "interactions in another time zone",
    "a day cut short",
    "the newest days are missing",
    "interactions in 1970",
    "one busy robot",
    "a dropped country",
}
KINDS = [
    *(Damage(kind, MOVIELENS, *damage, upstream=kind in _UPSTREAM) for kind, damage in _ML.items()),
    *(Damage(kind, RETAIL, *damage, upstream=kind in _UPSTREAM) for kind, damage in _SHOP.items()),
]
