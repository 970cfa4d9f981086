from datetime import UTC, datetime

import pyarrow as pa
import pytest

from two_tower.errors import InputError
from two_tower.starter import times
from two_tower.starter.values import kind_of, read_as

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
SECONDS = NOON.timestamp()


def column(*values: object) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(list(values))])


@pytest.mark.parametrize(
    ("values", "form", "expected"),
    [
        ((SECONDS + 0.5, SECONDS), "s", NOON.replace(microsecond=500_000)),
        ((int(SECONDS) * 10**9, int(SECONDS)), "s | ns", NOON),
        ((int(SECONDS * 1000), int(SECONDS), int(SECONDS) + 9), "s | ms", NOON),
        ((19_753, 19_754), "days", NOON.replace(hour=0)),
        ((20240131, 20240201), "%Y%m%d", NOON.replace(hour=0)),
        ((20240131120000, 20240201000000), "%Y%m%d%H%M%S", NOON),
        (("20240131", "20240201"), "%Y%m%d", NOON.replace(hour=0)),
        (("20240131T120000Z", "20240201T000000Z"), "%Y%m%dT%H%M%SZ", NOON),
        (("Wed Jan 31 14:00:00 +0200 2024", "Thu Feb 01 00:00:00 +0000 2024"), "%a %b %d %H:%M:%S %z %Y", NOON),
        (("Wed, 31 Jan 2024 12:00:00 GMT", "Thu, 01 Feb 2024 00:00:00 GMT"), "%a, %d %b %Y %H:%M:%S %Z", NOON),
        (("31/Jan/2024:12:00:00 +0000", "01/Feb/2024:00:00:00 +0000"), "%d/%b/%Y:%H:%M:%S %z", NOON),
        (("01 31, 2024", "02 1, 2024"), "%m %d, %Y", NOON.replace(hour=0)),
        (("January 31, 2024", "May 1, 2024"), "%B %d, %Y", NOON.replace(hour=0)),
        (("31.01.2024, 12:00", "01.02.2024, 00:00"), "%d.%m.%Y, %H:%M", NOON),
        (("2024-01-31T12:00:00Z", "1706702400", "31.01.2024 12:00"), "iso | %d.%m.%Y %H:%M | s", NOON),
    ],
)
def test_times_of_many_formats(values: tuple[object, ...], form: str, expected: datetime) -> None:
    texts = column(*values)
    assert set(kind_of(texts, "created_at", from_text=True)[5:].split(" | ")) == set(form.split(" | "))
    assert read_as(texts, "created_at", f"time {form}").array[0].as_py() == expected


def test_the_times_of_a_column_with_several_formats_are_one_instant() -> None:
    texts = column("2024-01-31T13:00:00+01:00", "1706702400", "1706702400000", "31.01.2024 12:00")
    kind = kind_of(texts, "when", from_text=True)
    assert read_as(texts, "when", kind).array.to_pylist() == [NOON] * 4


def test_a_mixture_of_both_orders_of_day_and_month_is_not_a_time() -> None:
    texts = column("31/01/2024", "01/31/2024", "02/03/2024")
    assert kind_of(texts, "created_at", from_text=True) == "text"


def test_sentinels_are_missing() -> None:
    numbers = column(*[int(SECONDS)] * 200, 0, -1)
    assert kind_of(numbers, "ts", from_text=False) == "time s"
    assert read_as(numbers, "ts", "time s").array.null_count == 2
    never = column(*[NOON] * 3, datetime(9999, 12, 31, tzinfo=UTC))
    assert read_as(never, "valid_to", "time as is").array.to_pylist() == [NOON] * 3 + [None]
    assert times.parse(pa.array(["9999-12-31", "0000-00-00", "2024-01-31 12:00:00"]), "iso").to_pylist()[2] == NOON


def test_relative_times_are_read_in_the_unit_of_the_user() -> None:
    days = read_as(column(0, 7), "day", "time days").array.to_pylist()
    assert days == [datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 8, tzinfo=UTC)]
    assert kind_of(column(0, 7), "day", from_text=False) == "integer"


def test_an_invalid_format_is_refused() -> None:
    with pytest.raises(InputError, match="'%Q' is not a valid format of times"):
        times.parse(pa.array(["2024"]), "%Q")
