"""Infer the plan of a feature repository from the tables and the options of the user."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT
from two_tower.datasets.tables import TIMESTAMP
from two_tower.errors import unknown
from two_tower.schema import Dtype
from two_tower.starter import files, values
from two_tower.starter.early_checks import check_options
from two_tower.starter.encode import Use, use_of
from two_tower.starter.event_time import Time, find_time
from two_tower.starter.keys import Key, find_keys, key_values
from two_tower.starter.notes import plan_notes
from two_tower.starter.plan import OWN_NAMES, Column, Plan, Table
from two_tower.starter.source import Source
from two_tower.starter.steadiness import codes, first_rows, steadiness

_STABLE = 0.9  # the minimum share of a key's later events with the value of its first event, for a feature of the key
_MOST_FUTURE = 0.1  # the maximum share of times in a table that are after the first interaction


@dataclass(frozen=True, kw_only=True)
class Options:
    """The files and options of `two-tower init`. An option of None is inferred.

    Attributes:
        interactions: The file of the interactions.
        users: The file of the users. None: the users of the interactions.
        items: The file of the items. None: the items of the interactions.
        user_key: The column of the user id.
        item_key: The column of the item id.
        timestamp: The column of the time of the interaction; `none` if there is none.
        timestamp_format: The format of the time: a strptime format, or s, ms, us or ns since 1970.
        weight: The column of the training weight. None: no weight.
        where: An SQL condition; other interactions are dropped. None: no condition.
        ignore: Columns to ignore.
        user_columns: Names of the first columns of the users file.
        item_columns: Names of the first columns of the items file.
        interaction_columns: Names of the first columns of the interactions file.
        delimiter: The delimiter of text files.
    """

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
    notes = [note for source in (events, *own.values()) if source for note in source.notes]
    notes += plan_notes(events, time, keys, own)
    plan = Plan(
        user_key=key_names["user"],
        item_key=key_names["item"],
        user_dtype=_key_dtype(keys["user"]),
        item_dtype=_key_dtype(keys["item"]),
        users=tables.get("user"),
        items=tables.get("item"),
        interactions=_event_table(events, keys, key_names, time, options, set(own) - set(tables), used_names),
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


def _path(options: Options, who: str) -> tuple[Path, list[str] | None]:
    path, names = (options.users, options.user_columns) if who == "user" else (options.items, options.item_columns)
    assert path is not None
    return path, names


def _key_name(who: str, key: Key, events: Source, used_names: set[str]) -> str:
    """Return the join key: the name of the column, with `_id` if the repository has another column of that name."""
    name = _clean(key.events) if events.named else f"{who}_id"
    return _free(f"{name}_id" if name.lower() in used_names else name, used_names)


def _key_dtype(key: Key) -> Dtype:
    return Dtype.INT64 if key.integer else Dtype.STRING


def _clean(name: str) -> str:
    """Return a name that is valid in Feast, Python and ONNX."""
    cleaned = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_") or "column"
    return f"c_{cleaned}" if cleaned[0].isdigit() else cleaned


def _free(name: str, used_names: set[str]) -> str:
    """Return the name, with a number if it is already in use, and add it to the names in use.

    Names that differ only in upper and lower case count as equal, as in DuckDB.
    """
    unique, number = name, 2
    while unique.lower() in used_names:
        unique, number = f"{name}_{number}", number + 1
    used_names.add(unique.lower())
    return unique


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
    options: Options,
    used_names: set[str],
) -> Table:
    own = keys[who].own
    assert own is not None
    ids = key_values(source, own, keys[who])
    firsts = _firsts(key_values(events, keys[who].events, keys[who]), seconds)
    versions = len(ids.unique()) < len(ids)
    used = set(used_names)
    columns, stamps = [_key_column(who, own, key_names[who], keys[who], "the key")], []
    for name in (c for c in source.table.column_names if c != own):
        if name in options.ignore:
            columns.append(_unused(name, "ignored by --ignore"))
            continue
        if name in source.left_out:
            columns.append(_unused(name, source.left_out[name]))
            continue
        use = use_of(source.table[name], name, source.from_text)
        if use.dtype == Dtype.TIMESTAMP:
            future = _future(ids, values.read_as(source.table[name], name, use.kind).array, firsts)
            if future <= _MOST_FUTURE or versions:
                stamps.append(name)
            else:
                why = f"after the first interaction in {future:.0%} of the rows: it would leak future information"
                columns.append(_unused(name, why, use.kind))
                continue
        columns.append(_feature(who, name, use, used))
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


def _unused(name: str, why: str, kind: str = "text") -> Column:
    return Column(source=name, role="unused", field="", kind=kind, why=why)


def _feature(who: str, name: str, use: Use, used: set[str]) -> Column:
    if use.dtype is None:
        return _unused(name, use.why, use.kind)
    field = _free(_clean(name) + use.suffix, used)
    return Column(
        source=name,
        role=f"{who} feature",  # type: ignore[arg-type]
        field=field,
        kind=use.kind,
        dtype=use.dtype,
        tags=dict(use.tags),
        why=use.why,
    )


def _firsts(ids: pa.Array, stamps: pa.Array) -> pa.Table:
    return pa.table({"id": ids, "t": stamps}).group_by("id").aggregate([("t", "min")])


def _future(ids: pa.Array, times: pa.Array, firsts: pa.Table) -> float:
    """Return the share of rows with a time after the first interaction of their key."""
    position = pc.index_in(ids, firsts["id"].combine_chunks())
    first = firsts["t_min"].combine_chunks().take(position)
    later = pc.greater(pc.cast(times, pa.int64()), pc.cast(first, pa.int64()))
    return float(pc.mean(later.cast(pa.int8())).as_py() or 0.0)


def _event_table(
    events: Source,
    keys: Mapping[str, Key],
    key_names: Mapping[str, str],
    time: Time | None,
    options: Options,
    derived: Iterable[str],
    used_names: set[str],
) -> Table:
    special = {
        keys["user"].events: _key_column(
            "user", keys["user"].events, key_names["user"], keys["user"], keys["user"].why
        ),
        keys["item"].events: _key_column(
            "item", keys["item"].events, key_names["item"], keys["item"], keys["item"].why
        ),
    }
    if time:
        special[time.column] = Column(
            source=time.column, role="time", field=EVENT_TIMESTAMP, kind=time.kind, why=time.why
        )
    if options.weight is not None:
        if options.weight not in events.table.column_names:
            raise unknown(f"column of {events.name} for --weight", options.weight, events.table.column_names)
        special[options.weight] = Column(
            source=options.weight,
            role="weight",
            field=WEIGHT,
            kind="number",
            dtype=Dtype.FLOAT32,
            why="set by --weight",
        )
    key_codes = {who: codes(key_values(events, keys[who].events, keys[who])) for who in derived}
    used = {who: set(used_names) for who in ("user", "item")}
    kept = set(used_names)
    columns = []
    for name in events.table.column_names:
        if name in special:
            columns.append(special[name])
        elif name in options.ignore:
            columns.append(_unused(name, "ignored by --ignore"))
        elif name in events.left_out:
            columns.append(_unused(name, events.left_out[name]))
        else:
            columns.append(_event_column(events, name, key_codes, used, kept))
    return Table(
        path=str(options.interactions.resolve()),
        names=options.interaction_columns,
        columns=tuple(columns),
        stamp=time.column if time else None,
    )


def _event_column(
    events: Source, name: str, key_codes: Mapping[str, Any], used: Mapping[str, set[str]], kept: set[str]
) -> Column:
    """Infer the use of a column: a feature if it is nearly constant per derived user or item, else a fact."""
    column = events.table[name]
    steady = {who: steadiness(code, column) for who, code in key_codes.items()}
    if steady:
        who = max(steady, key=lambda w: steady[w])
        if steady[who] >= _STABLE:
            use = use_of(column.take(first_rows(key_codes[who], column)), name, events.from_text)
            if use.dtype == Dtype.TIMESTAMP:
                return _unused(name, "another time of the event", use.kind)
            feature = _feature(who, name, use, used[who])
            why = f"constant per {who}: {steady[who]:.0%} of the later events repeat the first value; {use.why}"
            return replace(feature, why=why) if use.dtype else feature
    kind = events.kinds[name]
    dtype = {"integer": Dtype.INT64, "number": Dtype.FLOAT32, "flag": Dtype.BOOL, "text": Dtype.STRING}.get(
        kind.partition(" ")[0]
    )
    if dtype is None or column.null_count == len(column):
        return _unused(name, "another time of the event" if kind.startswith("time") else "not a plain value", kind)
    why = "a fact of the event, unknown before it: kept with the event, not a feature"
    if steady and max(steady.values()) > 0.5:
        who = max(steady, key=lambda w: steady[w])
        why = f"not constant per {who} ({1 - steady[who]:.0%} of the later events differ): kept, not a feature"
    return Column(source=name, role="kept", field=_free(_clean(name), kept), kind=kind, dtype=dtype, why=why)
