"""Infer what the columns of the interactions become."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT
from two_tower.errors import unknown
from two_tower.schema import Dtype
from two_tower.starter.cautions import personal_data
from two_tower.starter.columns import clean, feature, free, key_column, unused
from two_tower.starter.encode import use_of
from two_tower.starter.event_time import Time
from two_tower.starter.keys import Key, key_values
from two_tower.starter.options import Options
from two_tower.starter.plan import Column, Table
from two_tower.starter.source import Source
from two_tower.starter.steadiness import codes, first_rows, steadiness

_STABLE = 0.9  # the minimum share of a key's later events with the value of its first event, for a feature of the key


def event_table(
    events: Source,
    keys: Mapping[str, Key],
    key_names: Mapping[str, str],
    time: Time | None,
    options: Options,
    derived: Iterable[str],
    used_names: set[str],
) -> Table:
    """Infer what each column of the interactions becomes.

    Args:
        events: The interactions.
        keys: The keys, by `user` and `item`.
        key_names: The join keys of the repository, by `user` and `item`.
        time: The time column. None: the interactions have no times.
        options: The files and the options.
        derived: `user` and `item`, if the interactions describe them.
        used_names: Names that the repository uses already, in lower case.

    Raises:
        InputError: If `options.weight` is not a column.
    """
    special = {
        keys["user"].events: key_column("user", keys["user"].events, key_names["user"], keys["user"], keys["user"].why),
        keys["item"].events: key_column("item", keys["item"].events, key_names["item"], keys["item"], keys["item"].why),
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
            columns.append(unused(name, "ignored by --ignore"))
        elif name in events.left_out:
            columns.append(unused(name, events.left_out[name]))
        elif personal := personal_data(events.table[name], name, "event"):
            columns.append(unused(name, personal))
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
                return unused(name, "another time of the event", use.kind)
            inferred = feature(who, name, use, used[who])
            why = f"constant per {who}: {steady[who]:.0%} of the later events repeat the first value; {use.why}"
            return replace(inferred, why=why) if use.dtype else inferred
    kind = events.kinds[name]
    dtype = {"integer": Dtype.INT64, "number": Dtype.FLOAT32, "flag": Dtype.BOOL, "text": Dtype.STRING}.get(
        kind.partition(" ")[0]
    )
    if dtype is None or column.null_count == len(column):
        return unused(name, "another time of the event" if kind.startswith("time") else "not a plain value", kind)
    why = "a fact of the event, unknown before it: kept with the event, not a feature"
    if steady and max(steady.values()) > 0.5:
        who = max(steady, key=lambda w: steady[w])
        why = f"not constant per {who} ({1 - steady[who]:.0%} of the later events differ): kept, not a feature"
    return Column(source=name, role="kept", field=free(clean(name), kept), kind=kind, dtype=dtype, why=why)
