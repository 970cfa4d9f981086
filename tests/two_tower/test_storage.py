import io
import os
import uuid

import pytest

from two_tower.errors import InputError
from two_tower.storage import TEMPORARY, open_storage


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


def test_a_text_is_replaced_as_a_whole(storage) -> None:
    storage.write_folder("one", {"a.txt": b"first"})
    for text in ("a longer text\n", "short\n"):
        storage.replace_text("current", text)
        assert storage.read("current") == text.encode()
    assert storage.folders() == ["one"]


def test_a_local_copy_holds_all_files_of_a_folder(storage, tmp_path) -> None:
    storage.write_folder("one", {"a.txt": b"first", "b.txt": b"second"})
    folder = storage.local("one", tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.txt": b"first", "b.txt": b"second"}


def test_a_failed_write_leaves_nothing(storage, tmp_path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(FileNotFoundError):
        storage.write_folder("one", {"there": tmp_path / "there", "absent": tmp_path / "absent"})
    for name in ("there", "absent"):
        with pytest.raises(FileNotFoundError):
            storage.read(f"one/{name}")


def test_a_failed_write_leaves_no_local_folder(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        open_storage(tmp_path / "root").write_folder("one", {"absent": tmp_path / "absent"})
    assert list((tmp_path / "root").iterdir()) == []


def test_a_local_folder_can_be_read_by_other_users_and_leaves_no_temporary_file(tmp_path) -> None:
    storage = open_storage(tmp_path)
    storage.write_folder("one", {"a.txt": b"first"})
    storage.replace_text("current", "one\n")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("one", "current")] == [0o755, 0o644]
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_a_temporary_folder_is_removed_only_after_a_day(tmp_path) -> None:
    storage = open_storage(tmp_path)
    for name in ("young", "old"):
        (tmp_path / f"{TEMPORARY}{name}").mkdir()
    os.utime(tmp_path / f"{TEMPORARY}old", (0, 0))
    storage.write_folder("one", {"a.txt": b"first"})
    assert [path.name for path in tmp_path.glob(f"{TEMPORARY}*")] == [f"{TEMPORARY}young"]
    assert storage.folders() == ["one"]


def test_a_missing_object_folder_cannot_be_copied(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="root/one"):
        open_storage(f"memory://{uuid.uuid4()}/root").local("one", tmp_path)


def test_a_place_that_cannot_be_opened_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file' is a file"):
        open_storage(tmp_path / "file")
    with pytest.raises(InputError, match="nowhere"):
        open_storage("nowhere://bucket/releases")
