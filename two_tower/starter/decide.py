"""What the columns of three plain tables become, decided from the tables and from what the user says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT
from two_tower.errors import unknown
from two_tower.schema import RESERVED, Dtype
from two_tower.starter import files, values
from two_tower.starter.encode import Use, use_of
from two_tower.starter.keys import Key, Source, find_keys, find_time
from two_tower.starter.plan import ACTIVITY, Column, Plan, Table

_STABLE = 0.9  # share of a user's or an item's later events that repeat the first value of a feature of theirs
_MOST_FUTURE = 0.1  # share of the times in a table that may lie after the first interaction
_AMBIGUOUS = {"%m/%d": "%d/%m", "%d/%m": "%m/%d"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says. *_columns: names for the columns of a file without a header."""

    interactions: Path
    users: Path | None = None
    items: Path | None = None
    user_key: str | None = None
    item_key: str | None = None
    timestamp: str | None = None
    timestamp_format: str | None = None
    weight: str | None = None
    where: str | None = None
    ignore: tuple[str, ...] = ()
    user_columns: list[str] | None = None
    item_columns: list[str] | None = None
    interaction_columns: list[str] | None = None
    delimiter: str | None = None


def decide(asked: Asked) -> tuple[Plan, dict[str, pa.Table]]:
    """Look at the files, and say what each column becomes. Returns the tables as read, too, by `user`, `item`, `event`.

    The same file given as users or items, too, counts as not given: they are derived from the interactions.
    Raises InputError for a file that cannot be read, for no column that says when or who, and for names not there.
    """
    events = _source("interaction", asked.interactions, asked.interaction_columns, asked.delimiter)
    same = asked.interactions.resolve()
    own = {
        who: _source(who, path, names, asked.delimiter) if path and path.resolve() != same else None
        for who, path, names in (
            ("user", asked.users, asked.user_columns),
            ("item", asked.items, asked.item_columns),
        )
    }
    every = [c for s in (events, *own.values()) if s for c in s.table.column_names]
    for name in asked.ignore:
        if name not in every:
            raise unknown("column for --ignore", name, every)
    time, time_kind = find_time(events, asked.timestamp, asked.timestamp_format)
    keys = find_keys(events, own, time, {"user": asked.user_key, "item": asked.item_key})
    key_names = {who: _key_name(who, keys[who], events) for who in keys}
    taken = {*key_names.values(), EVENT_TIMESTAMP, *RESERVED}
    seconds = values.read_as(events.table[time], time, time_kind).array
    tables = {
        who: _own_table(who, source, _path(asked, who), keys, key_names, events, seconds, asked, taken)
        for who, source in own.items()
        if source
    }
    notes = list(_notes(events, time, time_kind, keys, own))
    plan = Plan(
        user_key=key_names["user"],
        item_key=key_names["item"],
        user_dtype=_key_dtype(keys["user"]),
        item_dtype=_key_dtype(keys["item"]),
        users=tables.get("user"),
        items=tables.get("item"),
        interactions=_event_table(events, keys, key_names, (time, time_kind), asked, set(own) - set(tables), taken),
        where=asked.where,
        delimiter=asked.delimiter,
        notes=tuple(notes),
    )
    read = {"event": events.table, **{who: s.table for who, s in own.items() if s}}
    return plan, read


def _path(asked: Asked, who: str) -> tuple[Path, list[str] | None]:
    path, names = (asked.users, asked.user_columns) if who == "user" else (asked.items, asked.item_columns)
    assert path is not None
    return path, names


def _source(table: str, path: Path, names: list[str] | None, delimiter: str | None) -> Source:
    read = files.read(path, table, names, delimiter)
    numbered = read.column_names[0] == f"{table}_1"
    return Source(name=path.name, table=read, from_text=path.suffix not in {".parquet", ".pq"}, named=not numbered)


def _key_name(who: str, key: Key, events: Source) -> str:
    return _clean(key.events) if events.named else f"{who}_id"


def _key_dtype(key: Key) -> Dtype:
    return Dtype.INT64 if key.integer else Dtype.STRING


def _clean(name: str) -> str:
    """A name that Feast, Python and ONNX take."""
    cleaned = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_") or "column"
    return f"c_{cleaned}" if cleaned[0].isdigit() else cleaned


def _free(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it; it is taken from then on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _key_column(who: str, source: str, name: str, key: Key, why: str) -> Column:
    kind = "integer" if key.integer else "text"
    return Column(source=source, role=f"{who} key", field=name, kind=kind, dtype=_key_dtype(key), why=why)  # type: ignore[arg-type]


def _own_table(
    who: str,
    source: Source,
    file: tuple[Path, list[str] | None],
    keys: Mapping[str, Key],
    key_names: Mapping[str, str],
    events: Source,
    seconds: pa.Array,
    asked: Asked,
    taken: set[str],
) -> Table:
    own = keys[who].own
    assert own is not None
    ids = _key_values(source, own, keys[who])
    firsts = _firsts(_key_values(events, keys[who].events, keys[who]), seconds)
    versions = len(ids.unique()) < len(ids)
    used = {*taken, *ACTIVITY[who]}
    columns, stamps = [_key_column(who, own, key_names[who], keys[who], "the key")], []
    for name in (c for c in source.table.column_names if c != own):
        if name in asked.ignore:
            columns.append(_unused(name, "left out as asked"))
            continue
        use = use_of(source.table[name], name, source.from_text)
        if use.dtype == Dtype.TIMESTAMP:
            future = _future(ids, values.read_as(source.table[name], name, use.kind).array, firsts)
            if future <= _MOST_FUTURE or versions:
                stamps.append(name)
            else:
                why = f"lies after the first interaction in {future:.0%} of the rows: it would tell the future"
                columns.append(_unused(name, why, use.kind))
                continue
        columns.append(_feature(who, name, use, used))
    stamp = stamps[0] if stamps else None
    if versions and stamp:
        at = next(i for i, c in enumerate(columns) if c.source == stamp)
        why = f"several rows of one {who}: each holds from this time on"
        columns[at] = Column(source=stamp, role="time", field=EVENT_TIMESTAMP, kind=columns[at].kind, why=why)
    return Table(
        path=str(file[0].resolve()),
        names=file[1],
        columns=tuple(columns),
        stamp=stamp,
        versions=versions and stamp is not None,
    )


def _unused(name: str, why: str, kind: str = "text") -> Column:
    return Column(source=name, role="unused", field="", kind=kind, why=why)


def _feature(who: str, name: str, use: Use, used: set[str]) -> Column:
    if use.dtype is None:
        return _unused(name, use.why, use.kind)
    return Column(
        source=name,
        role=f"{who} feature",  # type: ignore[arg-type]
        field=_free(_clean(name) + use.suffix, used),
        kind=use.kind,
        dtype=use.dtype,
        tags=dict(use.tags),
        why=use.why,
    )


def _key_values(source: Source, name: str, key: Key) -> pa.Array:
    return values.read_as(source.table[name], name, "integer" if key.integer else "text").array


def _firsts(ids: pa.Array, stamps: pa.Array) -> pa.Table:
    return pa.table({"id": ids, "t": stamps}).group_by("id").aggregate([("t", "min")])


def _future(ids: pa.Array, times: pa.Array, firsts: pa.Table) -> float:
    """Share of the rows whose time lies after the first interaction of their key."""
    place = pc.index_in(ids, firsts["id"].combine_chunks())
    first = firsts["t_min"].combine_chunks().take(place)
    later = pc.greater(pc.cast(times, pa.int64()), pc.cast(first, pa.int64()))
    return float(pc.mean(later.cast(pa.int8())).as_py() or 0.0)


def _event_table(
    events: Source,
    keys: Mapping[str, Key],
    key_names: Mapping[str, str],
    time: tuple[str, str],
    asked: Asked,
    derived: Iterable[str],
    taken: set[str],
) -> Table:
    special = {
        keys["user"].events: _key_column(
            "user", keys["user"].events, key_names["user"], keys["user"], keys["user"].why
        ),
        keys["item"].events: _key_column(
            "item", keys["item"].events, key_names["item"], keys["item"], keys["item"].why
        ),
        time[0]: Column(source=time[0], role="time", field=EVENT_TIMESTAMP, kind=time[1], why="when it happened"),
    }
    if asked.weight is not None:
        if asked.weight not in events.table.column_names:
            raise unknown(f"column of {events.name} for --weight", asked.weight, events.table.column_names)
        special[asked.weight] = Column(
            source=asked.weight, role="weight", field=WEIGHT, kind="number", dtype=Dtype.FLOAT32, why="as given"
        )
    codes = {who: _codes(_key_values(events, keys[who].events, keys[who])) for who in derived}
    used = {who: {*taken, *ACTIVITY[who]} for who in ("user", "item")}
    kept = {*taken, WEIGHT}
    columns = []
    for name in events.table.column_names:
        if name in special:
            columns.append(special[name])
        elif name in asked.ignore:
            columns.append(_unused(name, "left out as asked"))
        else:
            columns.append(_event_column(events, name, codes, used, kept))
    return Table(
        path=str(asked.interactions.resolve()), names=asked.interaction_columns, columns=tuple(columns), stamp=time[0]
    )


def _event_column(
    events: Source, name: str, codes: Mapping[str, Any], used: Mapping[str, set[str]], kept: set[str]
) -> Column:
    """A feature of users or items that have no table, where it hardly changes with them; else a fact of the event."""
    column = events.table[name]
    steady = {who: _steadiness(code, column) for who, code in codes.items()}
    if steady:
        who = max(steady, key=lambda w: steady[w])
        if steady[who] >= _STABLE:
            use = use_of(column.take(_first_rows(codes[who], column)), name, events.from_text)
            if use.dtype == Dtype.TIMESTAMP:
                return _unused(name, "a time of the event itself", use.kind)
            found = _feature(who, name, use, used[who])
            why = f"of the {who}: {steady[who]:.0%} of the later events repeat the first; {use.why}"
            return replace(found, why=why) if use.dtype else found
    kind = events.kinds[name]
    dtype = {"integer": Dtype.INT64, "number": Dtype.FLOAT32, "flag": Dtype.BOOL, "text": Dtype.STRING}.get(kind)
    if dtype is None or column.null_count == len(column):
        return _unused(name, "a further time of the event" if kind.startswith("time") else "no plain value", kind)
    why = "a fact of the event, not known before it: kept beside it, no feature"
    if steady and max(steady.values()) > 0.5:
        who = max(steady, key=lambda w: steady[w])
        why = f"changes with a {who} ({1 - steady[who]:.0%} of the later events): kept beside the event, no feature"
    return Column(source=name, role="kept", field=_free(_clean(name), kept), kind=kind, dtype=dtype, why=why)


def _codes(ids: pa.Array) -> Any:
    """Each key as a number from 0, -1 for a missing one."""
    return np.asarray(ids.dictionary_encode().indices.fill_null(-1)).astype(np.int64)


def _first_rows(code: Any, column: pa.ChunkedArray) -> pa.Array:
    """The first row of each key that has a value in the column."""
    known = np.flatnonzero((code >= 0) & np.asarray(column.is_valid()))
    return pa.array(known[np.unique(code[known], return_index=True)[1]])


def _steadiness(code: Any, column: pa.ChunkedArray) -> float:
    """Share of the events after a key's first that have the value of the first; 0 where keys have one event only."""
    if pa.types.is_nested(column.type):
        return 0.0
    value = np.asarray(column.combine_chunks().dictionary_encode().indices.fill_null(-1)).astype(np.int64)
    known = np.flatnonzero((code >= 0) & (value >= 0))
    _, first, back = np.unique(code[known], return_index=True, return_inverse=True)
    later = np.ones(len(known), dtype=bool)
    later[first] = False
    if not later.any():
        return 0.0
    return float(np.mean(value[known][later] == value[known][first[back[later]]]))


def _notes(
    events: Source, time: str, kind: str, keys: Mapping[str, Key], own: Mapping[str, Source | None]
) -> Iterable[str]:
    form = kind.partition(" ")[2]
    other = _AMBIGUOUS.get(form[:5])
    if other:
        distinct = events.table[time].unique().drop_null()
        if values.readable(distinct, form.replace(form[:5], other, 1)):
            yield f"{time}: days and months could change places; read as {form}. Overrule: --timestamp-format."
    for who, source in own.items():
        if source is None:
            continue
        key = keys[who]
        assert key.own is not None
        here, there = _key_values(events, key.events, key), _key_values(source, key.own, key)
        missing = pc.sum(pc.invert(pc.is_in(here.drop_null(), value_set=there.unique()))).as_py()
        if missing:
            yield f"{missing:,} of {len(here):,} interactions name {who}s that {source.name} does not have."
    for name in events.table.column_names:
        if re.search(r"quantity|qty|amount|price|count", name, re.I) and events.kinds[name] in ("integer", "number"):
            numbers = values.read_as(events.table[name], name, "number").array
            if below := pc.sum(pc.less_equal(numbers, 0)).as_py():
                yield (
                    f"{name}: not above 0 in {below:,} interactions (returns?), which count like the others. "
                    f"Leave them out: --where '\"{name}\" > 0'."
                )
