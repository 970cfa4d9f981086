"""Notes for the user about the data of a new feature repository."""

import re
from collections.abc import Iterator, Mapping

import pyarrow.compute as pc

from two_tower.starter import times, values
from two_tower.starter.keys import Key, key_values
from two_tower.starter.source import Source

_AMBIGUOUS = {"%m/%d": "%d/%m", "%d/%m": "%m/%d"}


def plan_notes(
    events: Source, time: str, kind: str, keys: Mapping[str, Key], own: Mapping[str, Source | None]
) -> Iterator[str]:
    """Yield notes for the user about ambiguous or unusual data.

    Args:
        events: The interactions.
        time: The time column of the interactions.
        kind: The kind of the time column.
        keys: The keys, by `user` and `item`.
        own: The tables of users and items, by `user` and `item`. None: no table.

    Yields:
        One sentence each: an ambiguous order of day and month, keys without a row in their table, quantities or prices
        of 0 or less.
    """
    form = kind.partition(" ")[2]
    other = _AMBIGUOUS.get(form[:5])
    if other:
        distinct = events.table[time].unique().drop_null()
        if times.readable(distinct, form.replace(form[:5], other, 1)):
            yield f"{time}: the order of day and month is ambiguous; read as {form}. Change it with --timestamp-format."
    for who, source in own.items():
        if source is None:
            continue
        key = keys[who]
        assert key.own is not None
        event_keys, own_keys = key_values(events, key.events, key), key_values(source, key.own, key)
        missing = pc.sum(pc.invert(pc.is_in(event_keys.drop_null(), value_set=own_keys.unique()))).as_py()
        if missing:
            yield f"{missing:,} of {len(event_keys):,} interactions have {who}s that are not in {source.name}."
    for name in events.table.column_names:
        if re.search(r"quantity|qty|amount|price|count", name, re.I) and events.kinds[name] in ("integer", "number"):
            numbers = values.read_as(events.table[name], name, "number").array
            if below := pc.sum(pc.less_equal(numbers, 0)).as_py():
                yield (
                    f"{name}: 0 or negative in {below:,} interactions (returns?), which are positives too. Drop them "
                    f"with --where '\"{name}\" > 0'."
                )
