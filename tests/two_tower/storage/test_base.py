"""What both kinds of storage guarantee: a folder on the disk, and a prefix of an object store."""

import io
import time
import uuid

import pytest

from two_tower.errors import ConflictError, InputError, StorageError
from two_tower.storage import open_storage


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    """A folder on the disk, and one of an object store, where nothing can be renamed."""
    return open_storage(tmp_path / "root" if request.param == "local" else f"memory://{uuid.uuid4()}/root")


def test_a_folder_is_written_read_listed_and_removed(storage, tmp_path) -> None:
    assert storage.folders() == []
    (tmp_path / "large").write_bytes(b"x" * 3_000_000)
    storage.write_folder("one", {"a.txt": b"first", "large": tmp_path / "large"})
    storage.write_folder("two", {"a.txt": b"second"})
    assert storage.folders() == ["one", "two"]
    assert storage.read("one/a.txt") == b"first"
    with storage.open("one/large") as file:
        assert isinstance(file, io.IOBase) and len(file.read()) == 3_000_000
    storage.remove_folder("one")
    assert storage.folders() == ["two"]
    with pytest.raises(FileNotFoundError):
        storage.read("one/a.txt")
    with pytest.raises(FileNotFoundError):
        storage.remove_folder("one")


def test_entries_are_listed_by_kind_and_time(storage) -> None:
    before = time.time()
    storage.write_folder("one", {"a.txt": b"first"})
    storage.write_file("current", b"one\n")
    assert {entry.name: entry.kind for entry in storage.entries()} == {"one": "folder", "current": "file"}
    (entry,) = storage.entries("one")
    assert (entry.name, entry.kind) == ("a.txt", "file") and abs(entry.modified - before) < 60
    assert storage.entries("two") == []


def test_files_are_written_and_removed(storage) -> None:
    storage.write_file("a", b"1")
    storage.write_file("a", b"2")
    storage.write_folder("one", {"b": b"3"})
    assert storage.read("a") == b"2"
    storage.remove_files(["a", "one/b"])
    storage.remove_files(["a"])
    assert storage.entries() == []


def test_a_complete_folder_is_not_written_again_and_an_incomplete_one_is(storage) -> None:
    storage.write_folder("one", {"a.txt": b"torn", "stale.txt": b""})
    storage.write_folder("one", {"a.txt": b"first", "last.txt": b""})
    assert storage.read("one/a.txt") == b"first"
    with pytest.raises(FileExistsError):
        storage.write_folder("one", {"a.txt": b"second", "last.txt": b""})
    assert storage.read("one/a.txt") == b"first"


def test_a_file_is_replaced_if_nobody_has_changed_it(storage) -> None:
    storage.write_folder("one", {"a.txt": b"first"})
    storage.replace("current", b"a longer text\n", None)
    storage.replace("current", b"short\n", b"a longer text\n")
    assert storage.read("current") == b"short\n" and storage.exists("current")
    for before in (None, b"a longer text\n"):
        with pytest.raises(ConflictError, match="current was changed by another process"):
            storage.replace("current", b"late\n", before)
    storage.replace("current", b"short\n", None)  # the same content: the writer's aim is reached
    assert storage.read("current") == b"short\n"
    assert storage.folders() == ["one"]


def test_a_file_above_the_limit_is_not_read(storage) -> None:
    storage.write_folder("one", {"a.txt": b"12345"})
    assert storage.read("one/a.txt", limit=5) == b"12345"
    with pytest.raises(StorageError, match=r"one/a\.txt has 5 bytes, and at most 4"):
        storage.read("one/a.txt", limit=4)


def test_a_local_copy_holds_all_files_of_a_folder(storage, tmp_path) -> None:
    storage.write_folder("one", {"a.txt": b"first", "b.txt": b"second"})
    folder = storage.local("one", tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.txt": b"first", "b.txt": b"second"}


def test_a_failed_write_does_not_complete_the_folder(storage, tmp_path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(FileNotFoundError):
        storage.write_folder("one", {"there": tmp_path / "there", "absent": tmp_path / "absent"})
    assert not storage.exists("one/absent")
    storage.write_folder("one", {"there": tmp_path / "there", "absent": b""})
    assert storage.exists("one/absent")


def test_a_place_that_cannot_be_opened_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file' is a file"):
        open_storage(tmp_path / "file")
    with pytest.raises(InputError, match="nowhere"):
        open_storage("nowhere://bucket/releases")
