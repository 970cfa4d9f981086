from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from two_tower.errors import InputError
from two_tower.starter.event_time import find_time
from two_tower.starter.source import Source

HOURS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=7 * n) for n in range(40)]
DAYS = [time.replace(hour=0) for time in HOURS]
LATER = [time + timedelta(days=3) for time in HOURS]
RARE = [None, *LATER[:30]] + [None] * 9


def source(**columns: list[object]) -> Source:
    ids = {"user_id": [f"u{n % 5}" for n in range(40)], "item_id": [f"i{n % 7}" for n in range(40)]}
    return Source(name="orders.parquet", table=pa.table(ids | columns), from_text=False, named=True)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"delivered_at": LATER, "ordered_at": HOURS}, "ordered_at"),
        ({"updated_at": LATER, "created_at": HOURS}, "created_at"),
        ({"signup_date": DAYS, "date": DAYS}, "date"),
        ({"release_date": LATER, "ts": HOURS}, "ts"),
        ({"date": DAYS, "time": HOURS}, "time"),
        ({"event_time": RARE, "at": HOURS}, "at"),
        ({"review_date": DAYS, "birthday": HOURS}, "review_date"),
    ],
)
def test_the_time_of_the_interaction_is_the_one_of_several_times(columns: dict[str, list[object]], name: str) -> None:
    (other,) = set(columns) - {name}
    time = find_time(source(**columns), None, None)
    assert (time.column, time.kind) == (name, "time as is")
    assert f"other times: {other} (--timestamp COLUMN selects another)" in time.why
    assert find_time(source(**columns), other, None).column == other


def test_a_number_without_the_name_of_a_time_is_not_a_count_of_days() -> None:
    rank = {"rank": [8000 + n for n in range(40)]}
    assert find_time(source(at=HOURS, **rank), None, None).column == "at"
    assert find_time(source(**rank), None, None) is None
    assert find_time(source(**rank), "rank", None).kind == "time days"
    with pytest.raises(InputError, match="Leave out --timestamp-format"):
        find_time(source(at=HOURS), "at", "ms")
