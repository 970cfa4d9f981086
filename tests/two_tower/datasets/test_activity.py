"""The activity features against a plain Python reading of the rule: a row describes the time strictly before it."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from two_tower.datasets.activity import item_activity, user_activity, user_seen
from two_tower.datasets.tables import TIMESTAMP

START = datetime(2024, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
Event = tuple[str, int, datetime]

# Few users, items and moments over six weeks, so that ties, repeats and both windows' ends occur; a day's ends too.
moments = st.builds(
    lambda day, place: START + timedelta(days=day) + place,
    st.integers(0, 42),
    st.sampled_from([timedelta(0), TICK, timedelta(hours=12), DAY - TICK]),
)
histories = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4), moments), min_size=1, max_size=25)


def table(events: list[Event]) -> pa.Table:
    users, items, times = zip(*events, strict=True)
    return pa.table({"who": users, "what": pa.array(items, pa.int64()), "event_timestamp": pa.array(times, TIMESTAMP)})


def newest(rows: list[dict], key: str, value: object, moment: datetime) -> dict | None:
    """What Feast's point-in-time join takes: the newest row at or before the moment."""
    known = [row for row in rows if row[key] == value and row["event_timestamp"] <= moment]
    return max(known, key=lambda row: row["event_timestamp"], default=None)


def instants(events: list[Event]) -> list[datetime]:
    times = {t + shift for _, _, t in events for shift in (-TICK, timedelta(0), TICK, DAY)}
    return sorted(times)


@given(histories)
@settings(max_examples=60, deadline=None)
def test_a_user_row_is_the_world_strictly_before_any_moment(events: list[Event]) -> None:
    rows = user_activity(table(events), "who", "what", recent=3).to_pylist()
    for moment in instants(events):
        for user in "ab":
            past = sorted((t, i) for u, i, t in events if u == user and t < moment)
            row = newest(rows, "who", user, moment)
            if not past:
                assert row is None
                continue
            assert row is not None
            assert row["recent_items"] == [i for _, i in past[-3:]]
            assert (row["user_events"], row["last_seen"]) == (len(past), past[-1][0])


@given(histories)
@settings(max_examples=60, deadline=None)
def test_an_item_row_counts_whole_days_before_the_day_of_any_moment(events: list[Event]) -> None:
    rows = item_activity(table(events), "what").to_pylist()
    dates_alone = all(t == t.replace(hour=0, minute=0, second=0, microsecond=0) for _, _, t in events)
    for moment in instants(events):
        today = (moment - dates_alone * TICK).replace(hour=0, minute=0, second=0, microsecond=0)
        for item in (1, 2, 3, 4):
            past = [t for _, i, t in events if i == item and t < today]
            row = newest(rows, "what", item, moment)
            if not past:
                assert row is None
                continue
            assert row is not None
            week, month = (sum(t >= today - days * DAY for t in past) for days in (7, 30))
            assert (row["item_events_7d"], row["item_events_30d"], row["item_events"]) == (week, month, len(past))


@given(histories)
@settings(max_examples=30, deadline=None)
def test_the_same_events_in_another_order_give_the_same_rows(events: list[Event]) -> None:
    forwards, backwards = table(events), table(events[::-1])
    assert user_activity(forwards, "who", "what").equals(user_activity(backwards, "who", "what"))
    assert item_activity(forwards, "what").equals(item_activity(backwards, "what"))
    assert user_seen(forwards, "who", "what").equals(user_seen(backwards, "who", "what"))


def test_events_of_one_instant_do_not_see_each_other() -> None:
    """A basket of two: its row comes after it, and what stands at its own time knows only the purchase before."""
    basket = START + DAY
    rows = user_activity(table([("a", 7, START), ("a", 9, basket), ("a", 8, basket)]), "who", "what").to_pylist()
    assert [row["event_timestamp"] for row in rows] == [START + TICK, basket + TICK]
    assert newest(rows, "who", "a", basket)["recent_items"] == [7]
    assert rows[-1] == {
        "who": "a",
        "event_timestamp": basket + TICK,
        "recent_items": [7, 8, 9],
        "user_events": 3,
        "last_seen": basket,
    }


def test_item_counts_decay_without_new_events() -> None:
    other = ("b", 2, START + timedelta(days=60))  # the data go on, so that what left the windows is known
    rows = item_activity(table([("a", 1, START + timedelta(hours=5)), other]), "what").to_pylist()
    mine = [row for row in rows if row["what"] == 1]
    days = [(row["event_timestamp"] - START).days for row in mine]
    counts = [(row["item_events_7d"], row["item_events_30d"], row["item_events"]) for row in mine]
    assert list(zip(days, counts, strict=True)) == [(1, (1, 1, 1)), (8, (0, 1, 1)), (31, (0, 0, 1))]


def test_nothing_is_said_of_days_after_the_data() -> None:
    rows = item_activity(table([("a", 1, START), ("b", 2, START)]), "what").to_pylist()
    assert {row["event_timestamp"] for row in rows} == {START + DAY + TICK}, "dates without hours"
    rows = item_activity(table([("a", 1, START), ("b", 2, START + TICK)]), "what").to_pylist()
    assert {row["event_timestamp"] for row in rows} == {START + DAY}


def test_seen_items_are_distinct_first_taken_first() -> None:
    events = [("a", 3, START), ("a", 1, START + DAY), ("a", 3, START + 2 * DAY), ("b", 2, START)]
    rows = user_seen(table(events), "who", "what").to_pylist()
    assert rows == [
        {"who": "a", "event_timestamp": START + 2 * DAY + TICK, "seen_items": [3, 1]},
        {"who": "b", "event_timestamp": START + TICK, "seen_items": [2]},
    ]
