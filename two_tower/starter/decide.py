"""Infer the plan of a feature repository from the tables and the options of the user."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets.tables import TIMESTAMP
from two_tower.schema import Dtype
from two_tower.starter import files, values
from two_tower.starter.cautions import SUMMARY, SUMMARY_WITHOUT_TIMES, personal_data
from two_tower.starter.columns import clean, feature, free, key_column, key_dtype, unused
from two_tower.starter.early_checks import check_options
from two_tower.starter.encode import use_of
from two_tower.starter.event_table import event_table
from two_tower.starter.event_time import find_time
from two_tower.starter.keys import Key, find_keys, key_values
from two_tower.starter.notes import plan_notes
from two_tower.starter.options import Options
from two_tower.starter.plan import OWN_NAMES, Column, Plan, Table
from two_tower.starter.source import Source

_MOST_FUTURE = 0.1  # the maximum share of times in a table that are after the first interaction


def decide(options: Options) -> tuple[Plan, dict[str, pa.Table]]:
    """Read the files and infer what each column becomes.

    If the users or items file is the interactions file, the users or items are derived from the interactions.

    Args:
        options: The files and the options.

    Returns:
        The plan, and the tables of the files by `user`, `item` and `event`.

    Raises:
        InputError: If a file is not valid, a key or time column cannot be inferred, or an option names an unknown
            column.
    """
    check_options(options, *_sources(options, head=True))
    events, own = _sources(options)
    time = find_time(events, options.timestamp, options.timestamp_format)
    keys = find_keys(events, own, time.column if time else None, {"user": options.user_key, "item": options.item_key})
    used_names = set(OWN_NAMES)
    key_names = {who: _key_name(who, keys[who], events, used_names) for who in keys}
    now = datetime.now(UTC).replace(microsecond=0)
    seconds = (
        values.read_as(events.table[time.column], time.column, time.kind).array
        if time
        else pa.repeat(pa.scalar(now, TIMESTAMP), events.table.num_rows)
    )
    tables = {
        who: _own_table(who, source, _path(options, who), keys, key_names, events, seconds, options, used_names)
        for who, source in own.items()
        if source
    }
    if time is None:
        tables = {who: _without_gate(table) for who, table in tables.items()}
    notes = [note for source in (events, *own.values()) if source for note in source.notes]
    notes += plan_notes(events, time)
    plan = Plan(
        user_key=key_names["user"],
        item_key=key_names["item"],
        user_dtype=key_dtype(keys["user"]),
        item_dtype=key_dtype(keys["item"]),
        users=tables.get("user"),
        items=tables.get("item"),
        interactions=event_table(events, keys, key_names, time, options, set(own) - set(tables), used_names),
        read_at=None if time else now.isoformat(),
        where=options.where,
        delimiter=options.delimiter,
        notes=tuple(notes),
    )
    read = {"event": events.table, **{who: s.table for who, s in own.items() if s}}
    return plan, read


def _sources(options: Options, *, head: bool = False) -> tuple[Source, dict[str, Source | None]]:
    """Read the interactions, and the tables of users and items; `head`: only their first rows."""
    events = files.read(options.interactions, "interaction", options.interaction_columns, options.delimiter, head=head)
    same = options.interactions.resolve()
    own = {
        who: files.read(path, who, names, options.delimiter, head=head) if path and path.resolve() != same else None
        for who, path, names in (
            ("user", options.users, options.user_columns),
            ("item", options.items, options.item_columns),
        )
    }
    return events, own


def _without_gate(table: Table) -> Table:
    """Return the table with other warnings: without times, the leak gate cannot check totals over events."""
    columns = (replace(c, warning=SUMMARY_WITHOUT_TIMES) if c.warning == SUMMARY else c for c in table.columns)
    return replace(table, columns=tuple(columns))


def _path(options: Options, who: str) -> tuple[Path, list[str] | None]:
    path, names = (options.users, options.user_columns) if who == "user" else (options.items, options.item_columns)
    assert path is not None
    return path, names


def _key_name(who: str, key: Key, events: Source, used_names: set[str]) -> str:
    """Return the join key: the name of the column, with `_id` if the repository has another column of that name."""
    name = clean(key.events) if events.named else f"{who}_id"
    return free(f"{name}_id" if name.lower() in used_names else name, used_names)


def _own_table(
    who: str,
    source: Source,
    file: tuple[Path, list[str] | None],
    keys: Mapping[str, Key],
    key_names: Mapping[str, str],
    events: Source,
    seconds: pa.Array,
    options: Options,
    used_names: set[str],
) -> Table:
    own = keys[who].own
    assert own is not None
    ids = key_values(source, own, keys[who])
    firsts = _firsts(key_values(events, keys[who].events, keys[who]), seconds)
    versions = len(ids.unique()) < len(ids)
    timed = versions and any(kind.startswith("time") for kind in source.kinds.values())
    used = set(used_names)
    columns, stamps = [key_column(who, own, key_names[who], keys[who], "the key")], []
    for name in (c for c in source.table.column_names if c != own):
        if name in options.ignore:
            columns.append(unused(name, "ignored by --ignore"))
            continue
        if name in source.left_out:
            columns.append(unused(name, source.left_out[name]))
            continue
        if personal := personal_data(source.table[name], name, who):
            columns.append(unused(name, personal))
            continue
        use = use_of(source.table[name], name, source.from_text)
        if use.dtype == Dtype.TIMESTAMP:
            future = _future(ids, values.read_as(source.table[name], name, use.kind).array, firsts)
            if future <= _MOST_FUTURE or versions:
                stamps.append(name)
            else:
                why = f"after the first interaction in {future:.0%} of the rows: it would leak future information"
                columns.append(unused(name, why, use.kind))
                continue
        columns.append(feature(who, name, use, used, at_once=not timed))
    stamp = stamps[0] if stamps else None
    if versions and stamp:
        at = next(i for i, c in enumerate(columns) if c.source == stamp)
        why = f"several rows per {who}: each is valid from this time"
        columns[at] = Column(source=stamp, role="time", field=EVENT_TIMESTAMP, kind=columns[at].kind, why=why)
    return Table(
        path=str(file[0].resolve()),
        names=file[1],
        columns=tuple(columns),
        stamp=stamp,
        versions=versions and stamp is not None,
    )


def _firsts(ids: pa.Array, stamps: pa.Array) -> pa.Table:
    return pa.table({"id": ids, "t": stamps}).group_by("id").aggregate([("t", "min")])


def _future(ids: pa.Array, times: pa.Array, firsts: pa.Table) -> float:
    """Return the share of rows with a time after the first interaction of their key."""
    position = pc.index_in(ids, firsts["id"].combine_chunks())
    first = firsts["t_min"].combine_chunks().take(position)
    later = pc.greater(pc.cast(times, pa.int64()), pc.cast(first, pa.int64()))
    return float(pc.mean(later.cast(pa.int8())).as_py() or 0.0)
