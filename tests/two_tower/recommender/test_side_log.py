"""The log of a side index, on a folder and on an S3 endpoint (moto's server, over HTTP): kills, races, costs."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import fsspec
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from tests.two_tower.recommender.test_side_index import write_and_merge
from two_tower.recommender.side_log import SideLog
from two_tower.recommender.side_rows import KEEP, REMOVED, Newest, log_schema
from two_tower.schema import EMBEDDING
from two_tower.storage import Storage, open_storage

SCHEMA = log_schema(pa.field("item", pa.string()), [pa.field("price", pa.float32())])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "releases")
        return
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("endpoint"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"shop-{uuid.uuid4()}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    yield f"s3://{bucket}/releases"
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def row(item: str, price: float) -> pa.Table:
    values = {"item": item, "price": price, KEEP: 3600, REMOVED: False, EMBEDDING: [1.0, 0.0]}
    return pa.Table.from_pylist([values], schema=SCHEMA)


class Replica:
    """A log with the newest rows of what it has read and written."""

    def __init__(self, storage: Storage) -> None:
        self.log = SideLog(storage, SCHEMA, dim=2)
        self.newest = Newest(SCHEMA)

    def read(self) -> dict[str, float]:
        for table in self.log.read():
            self.newest.add(table)
        return dict(zip(*(self.newest.rows[name].to_pylist() for name in ("item", "price")), strict=True))

    def append(self, item: str, price: float) -> None:
        self.newest.add(self.log.append(row(item, price)))

    def merge(self) -> None:
        self.log.remove(self.log.merge(self.newest.rows))


class Killed(BaseException):
    """The process ends here."""


def killed_after(storage: Storage, changes: int) -> Storage:
    """The storage of a process that is killed after a number of changes; each removal is one."""
    write, remove, left = storage.write_file, storage.remove_files, iter(range(changes))

    def change() -> None:
        if next(left, None) is None:
            raise Killed

    def write_file(name: str, content: bytes) -> None:
        change()
        write(name, content)

    def remove_files(paths: list[str]) -> None:
        for path in paths:
            change()
            remove([path])

    storage.write_file, storage.remove_files = write_file, remove_files  # type: ignore[method-assign,assignment]
    return storage


def test_a_process_that_is_killed_at_any_point_of_a_merge_loses_nothing(root: str) -> None:
    writer = Replica(open_storage(root))
    expected: dict[str, float] = {}
    for changes in range(6):
        for turn in range(2):
            writer.read()
            writer.append(f"i{changes}-{turn}", float(changes))
            writer.append("same", float(2 * changes + turn))
            expected |= {f"i{changes}-{turn}": float(changes), "same": float(2 * changes + turn)}
        merger = Replica(killed_after(open_storage(root), changes))
        merger.read()
        with pytest.raises(Killed):
            merger.merge()
        assert Replica(open_storage(root)).read() == expected == writer.read()
    writer.merge()
    assert Replica(open_storage(root)).read() == expected
    assert len(open_storage(root).entries()) == 1


def test_a_writer_that_is_late_is_not_lost_in_a_merge(root: str) -> None:
    late, other = Replica(open_storage(root)), Replica(open_storage(root))
    late.read()  # and is then interrupted
    for price in range(3):
        other.read()
        other.append("same", float(price))
    other.read()
    other.merge()
    late.append("late", 1.0)
    late.append("same", 99.0)  # begun before the others were complete
    for replica in (late, other, Replica(open_storage(root))):
        assert replica.read() == {"late": 1.0, "same": 2.0}


def test_a_file_that_was_merged_after_it_was_listed_is_read_from_the_merged_one(root: str) -> None:
    writer, reader = Replica(open_storage(root)), Replica(storage := open_storage(root))
    writer.append("one", 1.0)
    writer.append("two", 2.0)
    listed = storage.entries

    def entries() -> object:
        result = listed()
        if writer.log.files == 0:
            writer.read()
            writer.merge()
        return result

    storage.entries = entries  # type: ignore[method-assign,assignment]
    assert reader.read() == {"one": 1.0, "two": 2.0} and reader.log.unreadable == 0


def test_two_writers_lose_nothing(root: str, tmp_path: Path) -> None:
    write_and_merge(tmp_path, root)


WRITER = """
import sys
import pyarrow as pa
from tests.two_tower.recommender.test_side_log import Replica
from two_tower.storage import open_storage

replica = Replica(open_storage(sys.argv[1]))
turn = 0
while True:
    replica.read()
    if replica.log.files >= 3:
        replica.merge()
    replica.append(f"{sys.argv[2]}-{turn}", 1.0)
    print(turn, flush=True)
    turn += 1
"""


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing_that_they_confirmed(tmp_path: Path) -> None:
    confirmed: set[str] = set()
    for number in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for _ in range(20):
                confirmed.add(f"{number}-{process.stdout.readline().strip()}")
            process.kill()
            confirmed |= {f"{number}-{line.strip()}" for line in process.stdout if line.endswith("\n")}
    items = set(Replica(open_storage(tmp_path)).read())
    assert confirmed <= items and len(items - confirmed) <= 3  # the last one of each may be written


@pytest.mark.slow
def test_a_look_costs_the_same_after_many_upserts(capsys: pytest.CaptureFixture[str]) -> None:
    seconds, entries = {}, {}
    for upserts in (100, 3000):
        storage = open_storage(f"memory://{uuid.uuid4()}/releases")
        writer, reader = Replica(storage), Replica(storage)
        for turn in range(upserts):
            writer.append(f"i{turn % 1000}", float(turn))
            if turn % 16 == 15:
                writer.read()
                writer.merge()
                assert len(storage.entries()) == 1
        writer.append("last", 1.0)
        assert len(reader.read()) == min(upserts, 1000) + 1
        times = []
        for _ in range(50):
            began = time.perf_counter()
            assert reader.log.read() == []
            times.append(time.perf_counter() - began)
        seconds[upserts], entries[upserts] = min(times), len(storage.entries())
    with capsys.disabled():
        print(f"\nfiles after {entries}; seconds of a look {seconds}")
    assert max(entries.values()) <= 16 and seconds[3000] < 5 * seconds[100] + 0.001
