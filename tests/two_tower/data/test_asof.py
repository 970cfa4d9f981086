from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from two_tower.data.asof import CREATED, KEY, TIME, FeatureRows

STAMP = pa.timestamp("us", tz="UTC")


def at(second: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def stamps(seconds: list[int | None]) -> pa.ChunkedArray:
    return pa.chunked_array([[s if s is None else at(s) for s in seconds]], STAMP)


def table(rows: list[tuple[str, int, int | None]], *, created: bool) -> pa.Table:
    """Rows of key, time and creation, each with its number as features: a number, a text, a list."""
    keys, times, creations = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {KEY: pa.array(keys, pa.string()), TIME: stamps(list(times))}
    if created:
        columns[CREATED] = stamps(list(creations))
    numbers = list(range(len(rows)))
    columns["n"] = pa.array(numbers, pa.int64())
    columns["text"] = pa.array([f"row {n}" if n % 3 else None for n in numbers], pa.string())
    columns["list"] = pa.array([[n] * (n % 4) for n in numbers], pa.list_(pa.int64()))
    return pa.table(columns)


def held(rows: pa.Table, batch: int = 3) -> FeatureRows:
    return FeatureRows(rows.schema, rows.to_batches(max_chunksize=batch))


def ask(source: FeatureRows, asked: list[tuple[str, int]], ttl: timedelta | None = None) -> list[dict]:
    keys, seconds = zip(*asked, strict=True)
    return source.as_of(pd.Series(keys), stamps(list(seconds)), ttl).to_pylist()


def naive(
    rows: list[tuple[str, int, int | None]], key: str, second: int, *, created: bool, ttl: int | None
) -> int | None:
    """Number of the row that is the answer: every earlier row of the key is looked at."""
    earlier = [
        (time, -1 if made is None or not created else made, n)
        for n, (k, time, made) in enumerate(rows)
        if k == key and time <= second
    ]
    newest = max(earlier, default=None)
    return None if newest is None or (ttl and newest[0] + ttl < second) else newest[2]


KEYS = st.sampled_from("abcd")
ROWS = st.lists(st.tuples(KEYS, st.integers(0, 12), st.none() | st.integers(0, 2)), max_size=30)


@given(
    rows=ROWS,
    asked=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(-1, 13)), min_size=1, max_size=20),
    created=st.booleans(),
    ttl=st.none() | st.integers(1, 5),
    batch=st.integers(1, 31),
    window=st.integers(1, 20),
)
def test_each_row_is_the_newest_of_its_key_whatever_the_window(rows, asked, created, ttl, batch, window):
    source = held(table(rows, created=created), batch)
    expires = timedelta(seconds=ttl) if ttl else None
    found = [row for i in range(0, len(asked), window) for row in ask(source, asked[i : i + window], expires)]
    everything = table(rows, created=created).drop_columns([KEY, TIME]).to_pylist()
    for (key, second), row in zip(asked, found, strict=True):
        assert row["n"] == naive(rows, key, second, created=created, ttl=ttl)
        expected = dict.fromkeys(row) if row["n"] is None else {c: everything[row["n"]][c] for c in row}
        assert row == expected


@given(rows=ROWS, second=st.integers(-1, 13), created=st.booleans(), size=st.integers(1, 31))
def test_the_latest_rows_are_those_of_a_lookup_at_the_same_time(rows, second, created, size):
    source = held(table(rows, created=created))
    latest = list(source.latest(at(second), size))
    assert all(0 < part.num_rows <= size for part in latest)
    numbers = {
        n: time for part in latest for n, time in zip(part["n"].to_pylist(), part[TIME].to_pylist(), strict=True)
    }
    asked = [row["n"] for row in ask(source, [(key, second) for key in "abcd"])]
    assert set(numbers) == {n for n in asked if n is not None}
    assert all(time == at(rows[n][1]) for n, time in numbers.items())


def test_the_last_of_many_rows_with_equal_key_and_time_counts():
    keys = np.tile(np.arange(20_000), 2)
    rows = pa.table({KEY: keys, TIME: stamps([0] * len(keys)), "n": np.arange(len(keys))})
    found = held(rows, batch=10_000).as_of(pd.Series(keys[:20_000]), stamps([1] * 20_000), None)
    assert found["n"].to_pylist() == list(range(20_000, 40_000))


def test_a_row_of_the_very_instant_counts_and_a_microsecond_later_does_not():
    source = held(table([("a", 5, None)], created=False))
    micro = timedelta(microseconds=1)
    instants = pa.chunked_array([[at(5) - micro, at(5), at(8), at(8) + micro]], STAMP)
    found = source.as_of(pd.Series(["a"] * 4), instants, timedelta(seconds=3))
    assert found["n"].to_pylist() == [None, 0, 0, None]


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float64()])
def test_keys_that_the_source_holds_as_another_number_are_the_same_keys(kind):
    rows = table([("a", 1, None), ("b", 1, None)], created=False)
    source = held(rows.set_column(0, KEY, pa.array([7, 2**31 - 1]).cast(kind)))
    found = source.as_of(pd.Series([2**31 - 1, 7, 2**40]), stamps([1, 1, 1]), None)
    assert found["n"].to_pylist() == [1, 0, None]


def test_what_is_asked_for_is_read_and_the_rest_is_not_held():
    """Ten million numbers as features: 80 MB on disk. Arrow counts what is in memory, not what is mapped."""
    count = 200_000
    rows = pa.table(
        {
            KEY: pa.array(np.arange(count) % 1_000),
            TIME: pa.array(np.arange(count), pa.int64()).cast(pa.timestamp("s", tz="UTC")),
            "list": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(50 * count)), 50),
        }
    )
    schema, batches = rows.schema, iter(rows.to_batches(max_chunksize=10_000))
    before = pa.total_allocated_bytes()
    source = FeatureRows(schema, batches)
    found = source.as_of(pd.Series([3, 999]), pa.chunked_array([[count, 1_999]], pa.timestamp("s", tz="UTC")), None)
    assert [row[0] // 50 for row in found["list"].to_pylist()] == [count - 1_000 + 3, 1_999]
    assert pa.total_allocated_bytes() - before < 8_000_000
