"""The side index of a release, without a service. Over HTTP: tests/serving/http/test_side_items.py."""

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.two_tower import parts
from two_tower.recommender import side_index as module
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.errors import RequestError
from two_tower.recommender.side_index import MERGE_AT, MERGE_FIRST_AT, SideIndex
from two_tower.recommender.side_items import age
from two_tower.recommender.tower import Tower

HOUR, DAY = 3600, 24 * 3600


def side_index(folder: Path, contract=parts.CONTRACT, items: int = 10, releases: str = "") -> SideIndex:
    files = folder / f"files-{items}"
    if not files.is_dir():
        parts.write(files, items=items)
    tower = Tower(files, "item", contract, "cpu", threads=1)
    return SideIndex(releases or folder / "releases", "space-1", contract, Catalogue(files, contract), tower)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "releases/side/space-1").iterdir())


def read(folder: Path, items: int = 10) -> SideIndex:
    """A replica that starts now."""
    index = side_index(folder, items=items)
    index.refresh()
    return index


def merge(index: SideIndex) -> None:
    """Merge the files, however few they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MERGE_AT", 0)
        index.merge()


def embedding(index: SideIndex, item: str) -> list[float]:
    return index.items.embeddings[index.items.row_of[item]].tolist()


RED, BLUE = [1, 0], [0, 1]


def test_another_replica_reads_what_was_upserted_and_the_newest_row_counts(tmp_path: Path) -> None:
    one, other = side_index(tmp_path), side_index(tmp_path)
    assert age(other.items) == 0
    one.upsert({"new": {"colour": "blue"}}, now=1.0)
    one.upsert({"new": {"colour": "red"}, "i1": {"price": 99.0}}, now=2.0)
    other.refresh()
    assert set(other.items.ids) == {"new", "i1"} and other.items.new == 1
    assert embedding(other, "new") == RED
    assert other.items.replaced == [1] and 0 <= age(other.items) < HOUR  # by the clock of the storage


def test_an_item_keeps_its_own_id_where_that_is_a_feature(tmp_path: Path) -> None:
    contract = replace(parts.CONTRACT, item_key="colour")  # the item tower takes the id; only "red" is at (1, 0)
    index = side_index(tmp_path, contract)
    index.upsert({"red": {"colour": "blue", "price": 5.0}, "green": {"colour": "red"}}, now=1.0)
    embeddings = dict(zip(index.items.ids, index.items.embeddings.tolist(), strict=True))
    assert embeddings == {"red": RED, "green": BLUE}


def test_a_clock_that_is_ahead_does_not_hide_later_upserts(tmp_path: Path) -> None:
    ahead, right = side_index(tmp_path), side_index(tmp_path)
    ahead.upsert({"new": {"colour": "blue"}}, now=time.time() + HOUR)
    right.upsert({"new": {"colour": "red"}}, now=time.time())
    ahead.refresh()
    assert all(embedding(index, "new") == RED for index in (ahead, right, read(tmp_path)))


def test_an_upsert_keeps_the_values_that_another_replica_has_just_written(tmp_path: Path) -> None:
    one, other = side_index(tmp_path), side_index(tmp_path)
    one.upsert({"new": {"colour": "red"}}, now=1.0)
    other.upsert({"new": {"price": 3.0}}, now=2.0)  # has not looked since
    assert embedding(other, "new") == RED


def test_many_upserts_leave_few_files_and_a_look_reads_none(tmp_path: Path) -> None:
    one, other = side_index(tmp_path), side_index(tmp_path)
    for turn in range(MERGE_FIRST_AT + 5):
        one.upsert({f"n{turn % 30}": {"price": float(turn)}}, now=1.0)
        assert len(files(tmp_path)) <= MERGE_FIRST_AT + 1
    assert len(files(tmp_path)) < 10
    one.refresh()
    merge(one)
    assert len(files(tmp_path)) == 1
    other.refresh()
    for index in (one, other, read(tmp_path)):
        assert len(index.items.ids) == 30 and index.unreadable == 0
        held = index.items.columns.rows([index.items.row_of["n9"]])
        assert held[0]["price"] == float((MERGE_FIRST_AT + 5 - 10) // 30 * 30 + 9)


def test_a_replica_that_writes_nothing_merges_what_a_killed_one_left(tmp_path: Path) -> None:
    one = side_index(tmp_path)
    for turn in range(4 * MERGE_AT + 1):
        one.upsert({"new": {"price": float(turn)}}, now=1.0)
    other = read(tmp_path)
    other.merge()
    assert len(files(tmp_path)) == 1
    one.refresh()
    assert one.items.ids == other.items.ids == ["new"]


@pytest.mark.parametrize("damage", ["torn", "empty", "folder", "columns", "rows", "text", "old"])
def test_a_bad_file_is_skipped_logged_once_and_read_when_it_is_whole(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = side_index(tmp_path)
    index.upsert({"bad": {"colour": "red"}}, now=1.0)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    if damage == "torn":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "columns":
        pq.write_table(pa.table({"item_id": ["bad"]}), file)
    elif damage == "text":
        pq.write_table(pq.read_table(file), file, compression="none")
        file.write_bytes(file.read_bytes().replace(b"bad", b"ba\xff"))
    elif damage == "old":
        old = file.parent / "20240101T000000.000000-0badbad0"
        old.mkdir()
        pq.write_table(pa.table({"item_id": ["bad"]}), old / "items.parquet")
    elif damage == "rows":
        table = pq.read_table(file)
        pq.write_table(table.set_column(0, table.schema.field(0), pa.nulls(1, pa.string())), file)
    else:
        (file.parent / "20240101T000000.000000-0badbad0").mkdir()
    index.upsert({"good": {"colour": "red"}}, now=2.0)
    replica = side_index(tmp_path)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            replica.refresh()
    assert set(replica.items.ids) == ({"good", "bad"} if damage in ("folder", "old") else {"good"})
    assert replica.unreadable == 1 and len(caplog.records) == 1 and "cannot be read" in caplog.text
    replica.upsert({"good": {"price": 1.0}}, now=3.0)
    replica.refresh()
    merge(replica)
    assert replica.unreadable == 1, "a merge must not remove what it does not hold"
    if damage not in ("folder", "old"):
        file.write_bytes(whole)
    later = time.monotonic() + HOUR
    monkeypatch.setattr(time, "monotonic", lambda: later)
    replica.refresh()
    assert set(replica.items.ids) == {"good", "bad"} and replica.unreadable == (damage in ("folder", "old"))


def test_a_storage_that_cannot_be_listed_keeps_the_known_items_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = side_index(tmp_path)
    index.upsert({"new": {"colour": "red"}}, now=1.0)
    folder = tmp_path / "releases/side/space-1"
    folder.rename(tmp_path / "away")
    folder.write_bytes(b"")  # in the way
    for _ in range(3):
        index.refresh()
    assert index.items.ids == ["new"] and index.unreadable == 1 and len(caplog.records) == 1
    with pytest.raises(RequestError, match="could not be written"):
        index.upsert({"newer": {}}, now=2.0)
    folder.unlink()
    (tmp_path / "away").rename(folder)
    index.refresh()
    assert index.unreadable == 0


def of_version_0_1(folder: Path, stamp: datetime, **colours: str) -> None:
    """Write a change as version 0.1 did."""
    schema = pa.schema(
        [
            ("item_id", pa.string()),
            ("colour", pa.string()),
            ("price", pa.float32()),
            ("tags", pa.list_(pa.string())),
            ("two_tower_updated", pa.timestamp("us", tz="UTC")),
            ("embedding", pa.list_(pa.float32())),
        ]
    )
    rows = [
        {"item_id": item, "colour": colour, "two_tower_updated": stamp, "embedding": RED}
        for item, colour in colours.items()
    ]
    change = folder / f"releases/side/space-1/{stamp:%Y%m%dT%H%M%S.%f}-0badcafe"
    change.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), change / "items.parquet")


def test_the_folders_of_version_0_1_are_read_do_not_expire_and_are_merged(tmp_path: Path) -> None:
    for second in range(5 * MERGE_AT):
        of_version_0_1(tmp_path, datetime(2020, 1, 1, 0, second // 60, second % 60, tzinfo=UTC), old=f"c{second}")
    of_version_0_1(tmp_path, datetime(2020, 1, 2, tzinfo=UTC), changed="grey")
    index = read(tmp_path)
    index.upsert({"changed": {"colour": "red"}}, now=1.0)
    index.refresh()
    merge(index)
    assert all(path.suffix == ".parquet" for path in files(tmp_path))
    for one in (index, read(tmp_path)):
        rows = {item: one.items.columns.rows([row])[0]["colour"] for item, row in one.items.row_of.items()}
        assert rows == {"old": f"c{5 * MERGE_AT - 1}", "changed": "red"}


def write_and_merge(folder: Path, releases: str = "") -> None:
    """Two replicas write at the same time, and merge in between; then no upsert is lost."""
    indexes = [side_index(folder, releases=releases) for _ in range(2)]
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(3 * MERGE_AT):
                indexes[number].upsert({f"n{number}-{turn}": {}, "both": {"price": float(number)}}, now=time.time())
                if turn % 5 == 0:
                    indexes[number].refresh()
                    indexes[number].merge()
        except BaseException as error:  # noqa: BLE001 - for the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    third = side_index(folder, releases=releases)
    expected = {f"n{number}-{turn}" for number in range(2) for turn in range(3 * MERGE_AT)} | {"both"}
    prices = set()
    for index in (*indexes, third):
        index.refresh()
        assert set(index.items.ids) == expected and index.unreadable == 0
        prices.add(index.items.columns.rows([index.items.row_of["both"]])[0]["price"])
    assert len(prices) == 1, "all replicas hold the same row"


def test_two_writers_of_a_folder_lose_nothing(tmp_path: Path) -> None:
    write_and_merge(tmp_path)


def test_a_writer_without_the_right_to_delete_merges_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    index = side_index(tmp_path)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # as s3fs, which ignores what S3 refuses to delete
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for turn in range(5 * MERGE_AT):
        index.upsert({f"n{turn}": {}}, now=1.0)
    for _ in range(60):  # an hour
        now[0] += 60
        index.refresh()
        index.merge()
    assert len(files(tmp_path)) < 5 * MERGE_AT + 10 and "were not removed" in caplog.text
    monkeypatch.undo()
    assert len(read(tmp_path).items.ids) == 5 * MERGE_AT
