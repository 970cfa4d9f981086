"""Activity features: the recent interactions of users, and the interaction counts of items.

A row with timestamp t describes the state strictly before t and is valid until the next row. Feast joins the newest row
with a timestamp at or before that of the event, so the features of an event never include the event itself or another
event with the same timestamp. Therefore the timestamp of a row is one microsecond, the resolution of the clock, after
its event. A user or item without earlier events has no row: its features are missing, in training and in serving.
"""

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets.sql import quoted
from two_tower.datasets.tables import TIMESTAMP

# The item key orders events with equal timestamps, so that the features do not depend on the order of the input rows.
_USER_ACTIVITY = """
with ordered as (
    select {user} as u, {item} as i, event_timestamp as t,
           list({item}) over recent as recent_items,
           row_number() over (partition by {user} order by event_timestamp, {item}) as user_events,
           lead(event_timestamp) over (partition by {user} order by event_timestamp, {item}) as following
    from events
    window recent as (
        partition by {user} order by event_timestamp, {item} rows between {recent} - 1 preceding and current row
    )
)
select u as {user}, t + interval 1 microsecond as event_timestamp, recent_items, user_events, t as last_seen
from ordered
where following is distinct from t
order by event_timestamp, {user}
"""

_USER_SEEN = """
with firsts as (
    select {user} as u, {item} as i, min(event_timestamp) as first_time, max(event_timestamp) as last_time
    from events group by all
)
select u as {user}, max(last_time) + interval 1 microsecond as event_timestamp,
       list(i order by first_time, md5(i::varchar)) as seen_items
from firsts
group by u
order by u
"""

# The counts of an item change on the day after an event, and when the day of an event leaves a window.
_ITEM_ACTIVITY = """
with daily as (
    select {item} as i, (event_timestamp at time zone 'UTC')::date as day, count(*)::bigint as n
    from events group by all
),
changes as (
    select i, day, sum(n)::bigint as n
    from (
        select i, day, n from daily
        union all
        select i, day + unnest([1, 8, 31]), 0 from daily
    )
    where day <= (select max(day) + 1 from daily)
    group by all
),
counted as (
    select i, day,
           coalesce(sum(n) over (w range between 7 preceding and 1 preceding), 0)::bigint as item_events_7d,
           coalesce(sum(n) over (w range between 30 preceding and 1 preceding), 0)::bigint as item_events_30d,
           coalesce(sum(n) over (w range between unbounded preceding and 1 preceding), 0)::bigint as item_events
    from (select i, day, day - date '1970-01-01' as number, n from changes)
    window w as (partition by i order by number)
),
changed as (
    select *, lag((item_events_7d, item_events_30d, item_events)) over (partition by i order by day) as before
    from counted
    where item_events > 0
)
select i as {item}, day::timestamp at time zone 'UTC' + interval {lag} microsecond as event_timestamp,
       item_events_7d, item_events_30d, item_events
from changed
where before is distinct from (item_events_7d, item_events_30d, item_events)
order by event_timestamp, {item}
"""


_DAY = 86_400_000_000  # microseconds


def user_activity(interactions: pa.Table, user_key: str, item_key: str, recent: int = 50) -> pa.Table:
    """Compute the activity of each user, with one row per user and distinct time of an interaction.

    Args:
        interactions: The interactions: user key, item key and event_timestamp.
        user_key: The column of the user key.
        item_key: The column of the item key.
        recent: The maximum length of `recent_items`.

    Returns:
        The user key, event_timestamp (one microsecond after the interaction), recent_items (the last `recent` items,
        oldest first), user_events (int64, the number of interactions so far) and last_seen (the time of the latest
        interaction).
    """
    return _query(_USER_ACTIVITY, interactions, user=user_key, item=item_key, recent=recent)


def user_seen(interactions: pa.Table, user_key: str, item_key: str) -> pa.Table:
    """Collect the distinct items of each user, with one row per user.

    Args:
        interactions: The interactions: user key, item key and event_timestamp.
        user_key: The column of the user key.
        item_key: The column of the item key.

    Returns:
        The user key, event_timestamp (one microsecond after the user's last interaction) and seen_items, in the order
        of their first interactions; items with the same time are in a pseudo-random order.
    """
    return _query(_USER_SEEN, interactions, user=user_key, item=item_key)


def item_activity(interactions: pa.Table, item_key: str) -> pa.Table:
    """Count the interactions of each item, with one row per item and day on which a count changes.

    Args:
        interactions: The interactions: item key and event_timestamp.
        item_key: The column of the item key.

    Returns:
        The item key, event_timestamp (midnight UTC), and int64 counts: item_events_7d and item_events_30d (the 7 and 30
        days before the day) and item_events (all earlier days). The last possible day is the day after the newest
        interaction. If all interactions are at midnight, that is dates without hours, event_timestamp is one
        microsecond after midnight, so that no count changes at the time of an interaction.
    """
    micros = interactions[EVENT_TIMESTAMP].cast(TIMESTAMP).cast(pa.int64()).to_numpy()
    return _query(_ITEM_ACTIVITY, interactions, item=item_key, lag=int(not (micros % _DAY).any()))


def known_share(activity: pa.Table, interactions: pa.Table, key: str) -> float:
    """Return the share of interactions whose user or item has activity features at that time.

    Args:
        activity: The result of `user_activity` or `item_activity`.
        interactions: The interactions: the key and event_timestamp.
        key: The column of the user key or item key.
    """
    firsts = activity.group_by(key).aggregate([(EVENT_TIMESTAMP, "min")])
    position = pc.index_in(interactions[key], value_set=firsts[key].combine_chunks()).combine_chunks()
    first = firsts[f"{EVENT_TIMESTAMP}_min"].combine_chunks().take(position)
    known = pc.less_equal(first, interactions[EVENT_TIMESTAMP].combine_chunks())
    return float(pc.mean(known.fill_null(False).cast(pa.int8())).as_py() or 0.0)


def _query(sql: str, events: pa.Table, **names: str | int) -> pa.Table:
    parts = {k: v if isinstance(v, int) else quoted(v) for k, v in names.items()}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("events", events)
        table = connection.sql(sql.format(**parts)).to_arrow_table()
    stamps = [n for n in table.column_names if pa.types.is_timestamp(table.schema.field(n).type)]
    for name in stamps:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(TIMESTAMP))
    assert EVENT_TIMESTAMP in stamps
    return table
