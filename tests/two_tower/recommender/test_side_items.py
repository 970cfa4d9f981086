"""The items of a side index: when they expire, when they leave the log, and how they are removed."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.two_tower.recommender.test_side_index import DAY, HOUR, RED, embedding, files, merge, read, side_index
from two_tower.recommender import side_index as module
from two_tower.recommender import side_rows
from two_tower.recommender.errors import RequestError


def aged(folder: Path, seconds: float) -> None:
    """Set the times of the files, as the storage would have them after some time."""
    for path in files(folder):
        os.utime(path, (time.time() - seconds,) * 2)


def merged(folder: Path, items: int = 10) -> set[str]:
    """Merge the files, and return the items that they hold."""
    index = read(folder, items)
    index.upsert({"other": {"price": 1.0}}, now=time.time())
    index.refresh()
    merge(index)
    (file,) = files(folder)
    return set(pq.read_table(file)["item_id"].to_pylist())


def test_an_item_expires_by_the_clock_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = side_index(tmp_path)
    index.upsert({"short": {"colour": "red"}, "i1": {"colour": "red"}}, now=1.0, keep=HOUR)
    index.upsert({"long": {"colour": "red"}}, now=1.0, keep=DAY)
    assert set(index.items.ids) == {"short", "i1", "long"}
    aged(tmp_path, 2 * HOUR)
    replica = read(tmp_path)
    assert replica.items.ids == ["long"] and replica.items.replaced == []
    later = time.time() + DAY
    monkeypatch.setattr(time, "time", lambda: later)
    replica.refresh()
    assert replica.items.ids == [], "without a new file"
    monkeypatch.undo()
    assert merged(tmp_path) == {"long", "other"}


def test_a_replica_whose_clock_is_a_year_ahead_removes_nothing_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side_index(tmp_path).upsert({"new": {"colour": "red"}}, now=time.time())
    later = time.time() + 365 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    assert "new" in merged(tmp_path)
    monkeypatch.undo()
    assert "new" in read(tmp_path).items.ids


def test_rows_that_the_catalogue_has_by_now_leave_the_log_after_a_day(tmp_path: Path) -> None:
    features = {"colour": "red", "price": 10.0, "tags": ["t1"]}
    side_index(tmp_path).upsert({"i10": features}, now=1.0)
    eleven = read(tmp_path, items=11)
    assert eleven.items.ids == []
    assert merged(tmp_path, items=11) == {"i10", "other"}
    assert "i10" in read(tmp_path).items.ids, "the release before has it still"
    (file,) = files(tmp_path)
    table = pq.read_table(file)
    place = table.schema.get_field_index(side_rows.UPDATED)
    stamp = datetime.fromtimestamp(time.time() - 2 * DAY, UTC)
    stamps = pa.array([stamp] * len(table), table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), stamps), file)
    assert merged(tmp_path, items=11) == {"other"}


def test_a_removed_item_of_the_side_index_is_gone_and_leaves_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ITEMS", 2)
    index, other = side_index(tmp_path), side_index(tmp_path)
    index.upsert({"one": {}, "two": {}}, now=1.0)
    with pytest.raises(RequestError, match="may hold 2 items and holds 2"):
        index.upsert({"three": {}}, now=1.0)
    assert other.remove("one", now=2.0) == 1
    assert index.upsert({"three": {}}, now=3.0) == 2
    assert all(set(one.items.ids) == {"two", "three"} for one in (index, read(tmp_path)))
    for gone in ("one", "never"):
        with pytest.raises(RequestError, match="There is no item"):
            index.remove(gone, now=4.0)
    index.remove("two", now=5.0)
    index.upsert({"one": {"colour": "red"}}, now=6.0)
    assert embedding(read(tmp_path), "one") == RED


def test_a_removed_item_of_the_catalogue_is_hidden_until_it_is_upserted(tmp_path: Path) -> None:
    index = side_index(tmp_path)
    index.upsert({"i2": {"price": 99.0}}, now=1.0)
    index.remove("i2", now=2.0)
    index.remove("i4", now=2.0)
    aged(tmp_path, 90 * DAY)  # a removal does not expire
    assert merged(tmp_path) == {"i2", "i4", "other"}
    for one in (index, replica := read(tmp_path)):
        assert one.items.removed == {2, 4} and set(one.items.replaced) == {2, 4}
    replica.upsert({"i4": {}}, now=3.0)
    assert replica.items.removed == {2} and "i4" not in replica.items.ids  # as in the catalogue
    assert read(tmp_path).items.removed == {2}
