"""Notes for the user about the data of a new feature repository."""

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.starter import times, values
from two_tower.starter.event_time import Time
from two_tower.starter.keys import Key, key_values
from two_tower.starter.source import Source

_NO_TIMES = (
    "the interactions have no times, so the split is a random holdout of each user's interactions. It measures less "
    "than a split by time: training may use interactions that came after the held-out ones. Set --timestamp COLUMN if "
    "a column has the time.",
    "without times there are no activity features. The user tower reads a sample of the user's other items.",
    "without times no gate can find a column that was computed from held-out interactions, such as an average rating. "
    "Leave such columns out with --ignore.",
)


def plan_notes(
    events: Source, time: Time | None, keys: Mapping[str, Key], own: Mapping[str, Source | None]
) -> Iterator[str]:
    """Yield notes for the user about ambiguous or unusual data.

    Args:
        events: The interactions.
        time: The time column of the interactions. None: there is none.
        keys: The keys, by `user` and `item`.
        own: The tables of users and items, by `user` and `item`. None: no table.

    Yields:
        One sentence each: no times, an ambiguous order of day and month, keys without a row in their table, quantities
        or prices of 0 or less.
    """
    yield from _time_notes(events, time) if time else _NO_TIMES
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


def _time_notes(events: Source, time: Time) -> Iterator[str]:
    form = time.kind.partition(" ")[2]
    other = times.swapped(form)
    distinct = events.table[time.column].cast(pa.string()).unique().drop_null()
    if other != form and times.readable(distinct, other):
        yield (
            f"{time.column}: the order of day and month is ambiguous; read as {form}. Change it with "
            "--timestamp-format."
        )
