"""Activity features: what a user did lately, and how often an item was taken.

The rule that keeps the future out: a row stamped t describes the world strictly before t, and holds until the next
row. Feast takes the newest row with a timestamp at or before the event's, so an event never sees itself, nor another
event of the same instant. That is why a row follows its event by a microsecond, the clock's step. A user or an item
without an earlier event has no row: its features are missing, in training as in serving.
"""

import duckdb
import pyarrow as pa

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets.tables import TIMESTAMP

# Of the events of one instant the item's key decides the order, so that the same rows give the same features.
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
       list(i order by first_time, i) as seen_items
from firsts
group by u
order by u
"""

# An item's counts change on the day after an event, and when that event's day leaves a window.
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
select i as {item}, day::timestamp at time zone 'UTC' as event_timestamp, item_events_7d, item_events_30d, item_events
from changed
where before is distinct from (item_events_7d, item_events_30d, item_events)
order by event_timestamp, {item}
"""


def user_activity(interactions: pa.Table, user_key: str, item_key: str, recent: int = 50) -> pa.Table:
    """What each user did before each moment: one row per user and distinct time of an event.

    Returns the user key, event_timestamp (a microsecond after the event), recent_items (the last `recent` items, oldest
    first), user_events (int64, how many so far) and last_seen (timestamp of the latest).
    """
    return _query(_USER_ACTIVITY, interactions, user=user_key, item=item_key, recent=recent)


def user_seen(interactions: pa.Table, user_key: str, item_key: str) -> pa.Table:
    """Every distinct item of each user, first taken first: one row a user, stamped just after the last event.

    Returns the user key, event_timestamp and seen_items.
    """
    return _query(_USER_SEEN, interactions, user=user_key, item=item_key)


def item_activity(interactions: pa.Table, item_key: str) -> pa.Table:
    """How often each item was taken in the 7 and 30 days before a day, and ever: a row per item and day of a change.

    Returns the item key, event_timestamp (midnight UTC), item_events_7d, item_events_30d and item_events, all int64.
    The last day is the one after the newest event: of later ones nothing is known.
    """
    return _query(_ITEM_ACTIVITY, interactions, item=item_key)


def _query(sql: str, events: pa.Table, **names: str | int) -> pa.Table:
    quoted = {k: v if isinstance(v, int) else '"' + v.replace('"', '""') + '"' for k, v in names.items()}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("events", events)
        table = connection.sql(sql.format(**quoted)).to_arrow_table()
    stamps = [n for n in table.column_names if pa.types.is_timestamp(table.schema.field(n).type)]
    for name in stamps:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(TIMESTAMP))
    assert EVENT_TIMESTAMP in stamps
    return table
