"""Apply a plan to its files: build the tables of a feature repository."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT
from two_tower.datasets.sql import quoted
from two_tower.datasets.tables import TIMESTAMP, Tables
from two_tower.errors import InputError
from two_tower.inputs import ARROW_TYPES
from two_tower.schema import Dtype
from two_tower.starter import values
from two_tower.starter.plan import FIRST_SEEN, ITEM_ID, ROW, Column, Plan, Table
from two_tower.starter.where import matching

Who = Literal["user", "item"]
DROPPED = {  # the reasons of `Tables.report`, in words
    "no_user": "interactions without a user",
    "no_item": "interactions without an item",
    "no_time": "interactions without a time",
    "in_future": "interactions later than now",
    "not_wanted": "interactions that do not match --where",
    "duplicate": "interactions of the same user, item and time as another one",
    "user_without_key": "users without a key",
    "item_without_key": "items without a key",
    "user_without_time": "users without a time",
    "item_without_time": "items without a time",
    "user_again": "duplicate users (the last row counts)",
    "item_again": "duplicate items (the last row counts)",
}


def build(plan: Plan, read: Mapping[str, pa.Table]) -> Tables:
    """Build the tables of the repository.

    A row of a user or item without a time column is valid from the start of the interactions. A row with a time column
    is valid from that time, but not later than its first interaction.

    Args:
        plan: The plan.
        read: The tables of the files, by `user`, `item` and `event`.

    Returns:
        Users, items and interactions. `report` has the number of dropped rows, by reason, and the
        numbers of users and items of the interactions that were added to their tables.

    Raises:
        InputError: If a file lacks a column of the plan, a column has other values than planned, the SQL condition is
            not valid, or all interactions were dropped.
    """
    events, report = _events(plan, read["event"])
    users = _entity_table("user", plan, read, events, report)
    items = _entity_table("item", plan, read, events, report)
    if plan.items is None and plan.read_at is None:
        items = items.append_column(FIRST_SEEN, items[EVENT_TIMESTAMP])
    interactions = events.select([plan.user_key, plan.item_key, EVENT_TIMESTAMP, *(c.field for c in plan.facts)])
    if not plan.facts:  # a feature view in Feast needs at least one feature
        interactions = interactions.append_column(WEIGHT, pa.array(np.ones(events.num_rows, np.float32)))
    return Tables(
        users=users,
        items=items.append_column(ITEM_ID, items[plan.item_key]),
        interactions=interactions,
        report=report,
        user_key=plan.user_key,
        item_key=plan.item_key,
        has_times=plan.read_at is None,
    )


def _events(plan: Plan, table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Return the valid interactions, sorted by time, with all columns of the plan, and the numbers of dropped rows."""
    condition = _where(plan, table)
    rows = _typed(plan.interactions, table)
    if plan.read_at is not None:
        at = pa.scalar(datetime.fromisoformat(plan.read_at), TIMESTAMP)
        rows = rows.append_column(EVENT_TIMESTAMP, pa.repeat(at, rows.num_rows))
    rules = {
        "no_user": rows[plan.user_key].is_valid(),
        "no_item": rows[plan.item_key].is_valid(),
        "no_time": rows[EVENT_TIMESTAMP].is_valid(),
        "in_future": pc.less_equal(rows[EVENT_TIMESTAMP], _latest()).fill_null(True),
        "not_wanted": condition,
    }
    report, valid = {}, np.ones(rows.num_rows, dtype=bool)
    for name, mask in rules.items():
        still_valid = valid & np.asarray(mask)
        report[name] = int(valid.sum() - still_valid.sum())
        valid = still_valid
    if not valid.any():
        reasons = "; ".join(f"{count:,} {DROPPED[name]}" for name, count in report.items() if count)
        raise InputError(
            f"{plan.interactions.path}: all interactions were dropped: {reasons}. Check the columns of the keys and of "
            "the time, and --where."
        )
    rows = rows.filter(pa.array(valid))
    order = [(EVENT_TIMESTAMP, "ascending"), (plan.user_key, "ascending"), (plan.item_key, "ascending")]
    rows = rows.sort_by(order)
    distinct = _first_of_equal(rows, [name for name, _ in order])
    report["duplicate"] = int(rows.num_rows - distinct.sum())
    return rows.filter(pa.array(distinct)), report


def _latest() -> pa.Scalar:
    """Return the latest possible time of an interaction: now, in the time zone that is farthest ahead."""
    return pa.scalar(datetime.now(UTC) + timedelta(hours=14), TIMESTAMP)


def _first_of_equal(rows: pa.Table, names: list[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which rows of a sorted table differ from the row before in one of the columns."""
    first = np.zeros(rows.num_rows, dtype=bool)
    first[:1] = True
    for name in names:
        column = rows[name].combine_chunks()
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        first[1:] |= np.asarray(pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)))
    return first


def _where(plan: Plan, table: pa.Table) -> pa.ChunkedArray:
    """Return which interactions match the SQL condition of the user, which uses the column names of the file."""
    if plan.where is None:
        return pa.chunked_array([pa.array(np.ones(table.num_rows, dtype=bool))])
    typed = pa.table({c.source: _read(plan.interactions, table, c) for c in plan.interactions.columns})
    return matching(plan.where, typed)


def _read(file: Table, table: pa.Table, column: Column) -> pa.Array:
    if column.source not in table.column_names:
        raise InputError(
            f"{file.path} no longer has the column {column.source!r}, the source of {column.field!r}. Add the column, "
            "or create a new repository."
        )
    return values.read_as(table[column.source], column.source, column.kind).array


def _typed(file: Table, table: pa.Table) -> pa.Table:
    """Return the used columns, with their names in the repository and the Arrow types of their dtypes."""
    columns = {}
    for column in file.columns:
        if column.role == "unused":
            continue
        array = _read(file, table, column)
        dtype = Dtype.TIMESTAMP if column.role == "time" else column.dtype
        assert dtype is not None
        columns[column.field] = array.cast(ARROW_TYPES[dtype], safe=False)
    return pa.table(columns)


def _entity_table(
    who: Who, plan: Plan, read: Mapping[str, pa.Table], events: pa.Table, report: dict[str, int]
) -> pa.Table:
    """Return key, event_timestamp and the features of each user or item."""
    key = plan.user_key if who == "user" else plan.item_key
    features = [c.field for c in plan.features(who)]
    own = plan.users if who == "user" else plan.items
    firsts = events.group_by(key, use_threads=False).aggregate([(EVENT_TIMESTAMP, "min")])
    firsts = firsts.rename_columns([key, EVENT_TIMESTAMP])
    if own is None:
        return _derived(events, key, features)
    rows = _typed(own, read[who])
    known = rows[key].is_valid()
    report[f"{who}_without_key"] = int(rows.num_rows - pc.sum(known).as_py())
    rows = rows.filter(known)
    if own.versions:
        timed = rows[EVENT_TIMESTAMP].is_valid()
        report[f"{who}_without_time"] = int(rows.num_rows - pc.sum(timed).as_py())
        rows = rows.filter(timed)
    else:
        created = next((c.field for c in own.columns if c.source == own.stamp), None)
        stamps = _valid_from(rows[key], rows[created] if created else None, firsts, pc.min(events[EVENT_TIMESTAMP]))
        rows = rows.append_column(EVENT_TIMESTAMP, stamps)
    last = _last_of_each(rows, [key, EVENT_TIMESTAMP] if own.versions else [key])
    report[f"{who}_again"] = rows.num_rows - len(last)
    rows = rows.take(pa.array(last)).select([key, EVENT_TIMESTAMP, *features])
    new = firsts.filter(pc.invert(pc.is_in(firsts[key], value_set=rows[key].unique())))
    report[f"{who}_added"] = new.num_rows
    if not new.num_rows:
        return rows
    return pa.concat_tables([rows, new.select([key, EVENT_TIMESTAMP])], promote_options="default")


def _last_of_each(rows: pa.Table, keys: list[str]) -> list[int]:
    columns = [rows[key].cast(pa.int64()) if pa.types.is_timestamp(rows[key].type) else rows[key] for key in keys]
    last = {value: row for row, value in enumerate(zip(*(c.to_pylist() for c in columns), strict=True))}
    return sorted(last.values())


def _valid_from(keys: pa.ChunkedArray, created: pa.ChunkedArray | None, firsts: pa.Table, start: pa.Scalar) -> pa.Array:
    """Return when each row becomes valid: the later of its time and the start, at most the key's first interaction."""
    begin = pa.array(np.full(len(keys), start.cast(pa.int64()).as_py()))
    key = firsts.column_names[0]
    position = pc.index_in(keys, value_set=firsts[key].combine_chunks())
    first = firsts[EVENT_TIMESTAMP].combine_chunks().take(position.combine_chunks()).cast(pa.int64())
    own = begin if created is None else pc.max_element_wise(created.combine_chunks().cast(pa.int64()), begin)
    return pc.min_element_wise(own, first).cast(TIMESTAMP)


def _derived(events: pa.Table, key: str, features: list[str]) -> pa.Table:
    """Return one row per key with the features of its first event; the events are sorted by time.

    A value that only a later event has was not known at the first event, so it is missing.
    """
    columns = ", ".join(f"first({quoted(name)} order by {ROW}) as {quoted(name)}" for name in features)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        numbered = events.select(list(dict.fromkeys([key, EVENT_TIMESTAMP, *features]))).append_column(
            ROW, pa.array(np.arange(events.num_rows))
        )
        connection.register("events", numbered)
        query = (
            f"select {quoted(key)}, min({EVENT_TIMESTAMP}) as {EVENT_TIMESTAMP}{', ' + columns if columns else ''} "  # noqa: S608 - quoted names
            f"from events group by {quoted(key)} order by min({ROW})"
        )
        table = connection.sql(query).to_arrow_table()
    position = table.column_names.index(EVENT_TIMESTAMP)
    return table.set_column(position, EVENT_TIMESTAMP, table[EVENT_TIMESTAMP].cast(TIMESTAMP))
